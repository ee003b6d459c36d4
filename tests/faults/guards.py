"""Every guard of the publish protocol, how it is taken out, and which schedule then fails."""

from __future__ import annotations

from tests.support.mutations import Condition, Edit, Guard, Lines

_DECISIONS = "casparian.adapters.queue.decisions"
_LEDGER = "casparian.adapters.queue.ledger"
_SLOTS = "casparian.adapters.queue.slots"
_DECIDER = "casparian.app.decider"
_PROMOTER = "casparian.app.promoter"
_RULES = "casparian.domain.publish"
_SQLITE = "casparian.adapters.sink._sqlite_promotion:SqlitePromotion"
_ON_SERVERS = "casparian.adapters.sink._sql_promote"
_POSTGRESQL = "casparian.adapters.sink._postgresql_tables"
_LOWER = '"AND (p.ordinal, p.job_id) < (EXCLUDED.ordinal, EXCLUDED.job_id) "'

_TOKENS = "(job.attempt, job.token) != (decision.attempt, decision.token)"
_HELD = "if self._leases.holds(s.claim.job_id, s.claim.token)"
_NEWER = "state.generation is not None and state.generation > manifest.generation"
_MOVED = "set(state.published) != set(planned.published)"
_LOSERS = "any(decision.schema_changes for _, decision in losers)"
_SCHEMAS = "any(schemas.get(c.target) != c.expected for c in decision.schema_changes)"
_HIGHER = "MarkerCase.INSTALL if mine.generation > standing.generation else MarkerCase.OLDER"
_SAME = "MarkerCase.ALREADY if same else MarkerCase.CONFLICT"
_FATE = "fate is not None and (fate.status, fate.attempt, fate.token) == mine"
_NOT_MINE = "fate.token is None or fate.token[:SHORT] != staging.token[:SHORT]"
_WAITING = "taken = {key for key, state in bundles.items() if state.held}"


def _line(function: str, old: str, new: str) -> Edit:
    return Lines(function, ((old, new),))


GUARDS = (
    # --- S2: who decides ---------------------------------------------------------------------
    Guard(
        "fence at S2: attempt and token",
        "faults.test_schedules::test_a_late_decision_after_a_reap_is_stale",
        (
            _line(f"{_DECISIONS}:_refusal", _TOKENS, "False"),
            Condition(f"{_LEDGER}:_DECIDE", ("attempt", "token")),
        ),
        parameters=(("published", False),),
    ),
    Guard(
        "fence at S2: only a running job",
        "faults.test_schedules::test_cancelled_between_claim_and_decision",
        (
            Lines(
                f"{_DECISIONS}:_refusal",
                (
                    ("job is None or job.status != JobStatus.RUNNING", "job is None"),
                    (_TOKENS, "job.attempt != decision.attempt"),
                ),
            ),
            Condition(f"{_LEDGER}:_DECIDE", ("status", "token")),
        ),
    ),
    Guard(
        "lease, looked at before S2",
        "faults.test_schedules::test_an_engine_that_lost_its_lease_decides_nothing",
        (_line(f"{_DECIDER}:Decider._in_hand", _HELD, "if True"),),
    ),
    Guard(
        "lease, looked at before S3",
        "faults.test_schedules_pairs::test_an_engine_that_lost_its_lease_promotes_nothing",
        (
            _line(
                f"{_PROMOTER}:Promoter._holds",
                "self._leases.holds(decided.manifest.job_id, decided.token)",
                "True",
            ),
        ),
    ),
    Guard(
        "two versions of one file share no group",
        "faults.test_schedules::test_two_versions_in_one_engine",
        (
            _line(
                "casparian.app.publisher:Publisher._decide_due",
                "group.setdefault(staged.slot_key, staged)",
                "group.setdefault((staged.slot_key, id(staged)), staged)",
            ),
            _line(f"{_DECISIONS}:_refusal", "job.key in taken or ", ""),
        ),
    ),
    # --- S2: what it was planned on ----------------------------------------------------------
    Guard(
        "lock of the slot",
        "faults.test_schedules::test_two_jobs_of_one_location_at_once",
        (
            _line(f"{_DECISIONS}:_refusal", " or state.holder is not None", ""),
            Condition(f"{_SLOTS}:_TAKE_SLOT", ("holder",)),
        ),
    ),
    Guard(
        "generation, compared when a decision is planned",
        "faults.test_schedules::test_an_older_version_behind_a_newer_is_superseded",
        (_line(f"{_RULES}.plan:plan_items", _NEWER, "False"),),
    ),
    Guard(
        "generation, compared in S2",
        "faults.test_schedules_pairs::test_a_newer_version_in_the_same_slots_between_plan_and_decision",
        (_line(f"{_DECISIONS}:_refusal", "state.generation != planned.generation", "False"),),
    ),
    Guard(
        "standing slots, compared in S2",
        "faults.test_schedules_pairs::test_an_older_version_is_appended_between_plan_and_decision",
        (_line(f"{_DECISIONS}:_refusal", _MOVED, "False"),),
    ),
    Guard(
        "an older job does not lower the generation",
        "faults.test_schedules::test_appended_versions_stand_beside_one_another",
        (
            _line(
                f"{_RULES}.decision:Decision.raises_generation",
                "standing is None or self.manifest.generation > standing",
                "standing is None or True",
            ),
        ),
    ),
    Guard(
        "what a new version leaves out is emptied",
        "faults.test_schedules::test_a_topic_that_a_new_version_leaves_out_is_emptied",
        (_line(f"{_RULES}.plan:plan_items", "if own_version or mode_changed:", "if False:"),),
    ),
    Guard(
        "versions that are appended stand beside one another",
        "faults.test_schedules_pairs::test_appended_versions_in_their_order",
        (
            _line(
                f"{_RULES}.plan:plan_items",
                "standing.slot.version_id in (0, manifest.file_version_id)",
                "True",
            ),
        ),
    ),
    Guard(
        "schema of a target, compared and set",
        "faults.test_schedules::test_two_engines_set_one_schema",
        (_line(f"{_DECISIONS}:_refusal", _SCHEMAS, "False"),),
    ),
    Guard(
        "what was held against a loser's schema is planned anew",
        "faults.test_schedules::test_a_schema_that_only_a_loser_would_have_set",
        (_line(f"{_DECIDER}:Decider._commit", _LOSERS, "False"),),
    ),
    # --- S2: answers that do not come --------------------------------------------------------
    Guard(
        "a decision in doubt is sent again as it was",
        "faults.test_schedules_doubt::test_a_decision_in_doubt_is_not_planned_again",
        (_line(f"{_DECIDER}:Decider._plan_all", "staged.sent or self._plan(", "self._plan("),),
    ),
    Guard(
        "a staging that may be decided is not thrown away",
        "faults.test_schedules_doubt::test_a_staging_that_may_be_decided_outlives_a_failing_sync",
        (
            _line(f"{_DECIDER}:Decider._sync", "if staged.sent is not None:", "if False:"),
            _line(
                "casparian.app.publisher:Publisher._drop_staging",
                "if staged.sent is not None:",
                "if False:",
            ),
        ),
    ),
    Guard(
        "an earlier commit is known by the job's fate",
        "faults.test_schedules_doubt::test_the_answer_to_a_decision_is_lost",
        (_line(f"{_DECIDER}:_end_stale", _FATE, "False"),),
    ),
    # --- S3: who promotes --------------------------------------------------------------------
    Guard(
        "marker: a second promote is a no-op",
        "faults.test_schedules_promote::"
        "test_a_promoter_stands_still_while_its_successor_is_half_way",
        (_line(f"{_RULES}.marker:compare_marker", f"return {_SAME}", "return MarkerCase.INSTALL"),),
        kind="parquet",
    ),
    Guard(
        "marker: another digest of the same job is refused",
        "faults.test_schedules_pairs::test_a_marker_that_says_otherwise_is_not_taken_for_done",
        (_line(f"{_RULES}.marker:compare_marker", _SAME, "MarkerCase.ALREADY"),),
    ),
    Guard(
        "marker: its generation is compared",
        "faults.test_schedules_promote::"
        "test_a_blocked_job_that_comes_after_a_newer_one_forgets_nothing",
        (_line(f"{_RULES}.marker:compare_marker", _HIGHER, "MarkerCase.INSTALL"),),
    ),
    Guard(
        "marker: rows of another installation are refused",
        "faults.test_schedules_pairs::test_rows_of_another_installation_are_not_replaced",
        (
            _line(
                f"{_RULES}.marker:compare_marker",
                "standing.installation != mine.installation",
                "False",
            ),
        ),
        kind="parquet",
    ),
    Guard(
        "who takes over renames the staging",
        "faults.test_schedules_promote::"
        "test_a_promoter_stands_still_between_comparison_and_exchange",
        (_line(f"{_PROMOTER}:Promoter._install", "if decided.inherited:", "if False:"),),
    ),
    Guard(
        "an exchange names its own staging",
        "faults.test_schedules_promote::"
        "test_a_promoter_stands_still_while_its_successor_is_half_way",
        (_line(f"{_RULES}.staging:StagingKey.name", "{self.token[:SHORT]}", "{'0' * SHORT}"),),
        kind="parquet",
    ),
    Guard(
        "rows that are copied are counted",
        "faults.test_schedules_pairs::test_a_staging_that_lost_rows_is_not_published",
        (_line(f"{_SQLITE}._install", "copied != item.rows", "False"),),
    ),
    # --- S3 on a server ----------------------------------------------------------------------
    Guard(
        "PostgreSQL: a marker is written where a lower generation stands",
        "faults.test_schedules_promote::"
        "test_a_blocked_job_that_comes_after_a_newer_one_forgets_nothing",
        (_line(f"{_POSTGRESQL}:write_markers", _LOWER, '""'),),
        kind="postgresql",
    ),
    Guard(
        "PostgreSQL: a marker of the same job is left as it is",
        "faults.test_schedules_pairs::test_a_marker_that_says_otherwise_is_not_taken_for_done",
        (_line(f"{_POSTGRESQL}:write_markers", _LOWER, _LOWER.replace("<", "<=")),),
        kind="postgresql",
    ),
    Guard(
        "PostgreSQL: markers and tables of another installation are refused",
        "faults.test_schedules_pairs::test_rows_of_another_installation_are_not_replaced",
        (
            _line(
                f"{_POSTGRESQL}:write_markers",
                "WHERE p.installation = EXCLUDED.installation",
                "WHERE true",
            ),
            _line(f"{_POSTGRESQL}:other_installation", "(None, installation)", "(least, most)"),
        ),
        kind="postgresql",
    ),
    Guard(
        "servers: a staging that was taken over is not the promoter's any more",
        "faults.test_schedules_promote::test_a_promoter_comes_between_takeover_and_promote",
        (
            _line(
                "casparian.adapters.sink._postgresql_staging:take_over",
                "SET token = $4",
                "SET token = coalesce(token, $4)",
            ),
        ),
        kind="postgresql",
    ),
    Guard(
        "servers: rows that go in are counted",
        "faults.test_schedules_pairs::test_a_staging_that_lost_rows_is_not_published",
        (_line(f"{_ON_SERVERS}:_replace", "copied != wanted", "False"),),
        kind="postgresql",
    ),
    # --- S4, S5 ------------------------------------------------------------------------------
    Guard(
        "token at S4",
        "faults.test_schedules_promote::test_a_stale_promoter_completes_nothing",
        (
            _line(f"{_LEDGER}:_promoting", " and job.token == token", ""),
            Condition(f"{_LEDGER}:_COMPLETE", ("token",)),
        ),
    ),
    Guard(
        "a slot is forgotten only by who emptied it",
        "faults.test_schedules_promote::"
        "test_a_blocked_job_that_comes_after_a_newer_one_forgets_nothing",
        (
            _line(
                f"{_PROMOTER}:_installed",
                "if all(r.case is not InstallCase.OLDER for r in receipts)",
                "if True",
            ),
        ),
    ),
    Guard(
        "a newer job that completes ends a blocked one",
        "faults.test_schedules_promote::test_a_blocked_job_is_superseded_by_a_newer",
        (
            _line(
                f"{_LEDGER}:SqlLedger._end_blocked",
                "newer is not None and Generation(row.ordinal, row.id) < newer",
                "False",
            ),
        ),
    ),
    Guard(
        "lock of the slot, released at S4",
        "faults.test_schedules::test_two_jobs_of_one_location_at_once",
        (
            _line(
                f"{_LEDGER}:SqlLedger._complete",
                "let_go(connection, [c.job_id for c in completions])",
                "pass",
            ),
        ),
    ),
    # --- recovery ----------------------------------------------------------------------------
    Guard(
        "lease, looked at by the reaper",
        "faults.test_schedules_pairs::test_the_reaper_comes_while_the_owner_renews",
        (
            _line(
                "casparian.adapters.queue.conditions:left_behind",
                "_job.lease_until_us <= now_us",
                "_job.lease_until_us >= 0",
            ),
        ),
    ),
    Guard(
        "a takeover gives the job another token",
        "faults.test_schedules_promote::test_a_stale_promoter_completes_nothing",
        (
            _line(
                f"{_LEDGER}:SqlLedger.take_over",
                '"token": self._db.dialect.fresh_token',
                '"token": _job.token',
            ),
        ),
    ),
    Guard(
        "the sweep leaves what is decided, whatever the token",
        "faults.test_schedules_promote::test_the_sweep_leaves_what_is_taken_over",
        (_line(f"{_RULES}.staging:is_orphan", "staging.attempt != fate.attempt", _NOT_MINE),),
    ),
    Guard(
        "the sweep leaves what a running job holds",
        "faults.test_schedules_promote::test_the_sweep_takes_a_dead_attempt_only",
        (_line(f"{_RULES}.staging:is_orphan", f"return {_NOT_MINE}", "return True"),),
    ),
    Guard(
        "a blocked job that is retried takes the lock",
        "faults.test_schedules_promote::"
        "test_a_blocked_job_cannot_be_retried_past_a_newer_that_holds_the_lock",
        (_line(f"{_SLOTS}:take_slot", ", _slot.holder.is_(None)", ""),),
    ),
    Guard(
        "a cancel takes the token away",
        "faults.test_schedules::test_cancelled_between_claim_and_decision",
        (
            _line(
                "casparian.adapters.queue.jobs:SqlJobs.cancel",
                "self._move(connection, job, event, status, actor, gone)",
                "pass",
            ),
        ),
    ),
    Guard(
        "a purge gives way to a newer version",
        "faults.test_schedules_purge::test_a_version_that_comes_meanwhile_stays",
        (_line(f"{_RULES}.plan:plan_purge", _NEWER, "False"),),
    ),
    Guard(
        "a version on which a job waits is not backfilled again",
        "faults.test_schedules_backfill::test_a_backfill_that_is_asked_for_twice_runs_once",
        (
            _line(
                "casparian.adapters.queue.backfills:SqlBackfills.enqueue_backfills",
                "if old.in_the_way is None",
                "",
            ),
        ),
    ),
    # --- bundles -----------------------------------------------------------------------------
    Guard(
        "a bundle that is decided and not installed is waited for",
        "faults.test_schedules_bundles::test_a_bundle_that_is_decided_and_not_installed_waits",
        (
            _line(f"{_DECISIONS}:_of_bundles", "state.held", "False"),
            _line(f"{_DECIDER}:Decider._plan_all", _WAITING, "taken = set()"),
            Condition(f"{_SLOTS}:_RAISE_BUNDLE", ("installed",)),
        ),
        kind="parquet",
    ),
    Guard(
        "a bundle is decided by all of its jobs or by none",
        "faults.test_schedules_bundles::test_the_answer_and_one_lease_are_lost",
        (_line("casparian.domain.bundles:sharing", "waiting += writers.pop(key, ())", "pass"),),
        kind="parquet",
        parameters=(("decided", False),),
    ),
    Guard(
        "a bundle's file is held against its digest before it is rewritten",
        "faults.test_schedules_bundles::test_a_bundle_that_somebody_changed_is_not_written_over",
        (
            _line(
                "casparian.adapters.sink._bundle_files:_read",
                "hashlib.sha256(content).hexdigest() != file.sha256",
                "False",
            ),
        ),
        kind="parquet",
    ),
    # --- what a sidecar sends ----------------------------------------------------------------
    Guard(
        "totals in DONE",
        "faults.test_schedules_pairs::test_a_batch_that_did_not_arrive",
        (
            _line(
                "casparian.app.worker_context:WorkerContext.finish",
                "arrived != total.rows",
                "False",
            ),
        ),
    ),
    Guard(
        "Arrow data, validated in full",
        "faults.test_schedules_pairs::test_a_batch_that_lies_about_itself",
        (
            _line("casparian.app.payloads:read_batch", "batch.validate(full=True)", "pass"),
            _line(
                "casparian.app.payloads:_read_any_stream",
                "pa.Table.from_batches(batches).validate(full=True)",
                "pass",
            ),
        ),
    ),
)
