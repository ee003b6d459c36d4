DELETE FROM adopted_version WHERE adopted_version.location_id = ?

DELETE FROM adopted_version WHERE adopted_version.location_id IN (?, ?)

DELETE FROM content_copy WHERE (content_copy.job_id NOT IN (SELECT processing_job.id FROM processing_job))

DELETE FROM content_copy WHERE content_copy.job_id = ?

DELETE FROM content_copy WHERE content_copy.job_id IN (?, ?)

DELETE FROM content_copy WHERE content_copy.plugin_name = ?

DELETE FROM content_doer WHERE content_doer.plugin_name = ?

DELETE FROM content_doer WHERE content_doer.plugin_name = ? AND content_doer.content_hash = ?

DELETE FROM deploy_nonce WHERE deploy_nonce.used_at_us < ?

DELETE FROM deploy_refusal WHERE deploy_refusal.id <= ?

DELETE FROM file_departure WHERE file_departure.file_version_id = ?

DELETE FROM file_departure WHERE file_departure.file_version_id IN (?, ?)

DELETE FROM job_event WHERE job_event.id IN (SELECT TOP 1 job_event.id FROM job_event JOIN processing_job ON processing_job.id = job_event.job_id WHERE processing_job.finished_at_us IS NOT NULL AND processing_job.finished_at_us < ? AND job_event.at_us < ?)

DELETE FROM processing_job WHERE processing_job.id <= ? AND processing_job.status IN (?, ?)

DELETE FROM processing_job WHERE processing_job.id IN (SELECT TOP 1 processing_job.id FROM processing_job WHERE processing_job.finished_at_us IS NOT NULL AND processing_job.finished_at_us < ? AND processing_job.manifest IS NULL AND processing_job.file_version_id != (SELECT file_location.current_version_id FROM file_location WHERE file_location.id = processing_job.location_id) AND NOT (EXISTS (SELECT job_event.id FROM job_event WHERE job_event.job_id = processing_job.id))) AND processing_job.finished_at_us IS NOT NULL AND processing_job.finished_at_us < ?

DELETE FROM published_slot WHERE published_slot.plugin_name = ? AND published_slot.location_id = ? AND published_slot.topic = ? AND published_slot.version_id = ? AND published_slot.mode = ? AND published_slot.bundle = ? AND published_slot.scheme = ? AND published_slot.location = ? AND published_slot.name = ?

DELETE FROM target_bundle WHERE target_bundle.bundle = ? AND target_bundle.scheme = ? AND target_bundle.location = ? AND target_bundle.name = ?

DELETE FROM worker_node WHERE worker_node.hostname = ? AND worker_node.pid = ? OR worker_node.heartbeat_at_us <= ?

INSERT INTO adopted_slot (adoption_id, plugin_name, topic, location_id, version_id, mode, scheme, location, name, former_uuid, former_job_id, former_location_id, former_version_id, former_ordinal, content_hash, rows) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

INSERT INTO adopted_version (location_id, version_id, content_hash) VALUES (?, ?, ?)

INSERT INTO adoption (at_us, actor, former_uuid, uuid) OUTPUT inserted.id VALUES (?, ?, ?, ?)

INSERT INTO content_copy (job_id, plugin_name, content_hash) VALUES (?, ?, ?)

INSERT INTO content_doer (plugin_name, content_hash, job_id, location_id) VALUES (?, ?, ?, ?)

INSERT INTO deploy_nonce (nonce, used_at_us) VALUES (?, ?)

INSERT INTO deploy_refusal (at_us, failed_check, message, plugin_name, version, key_id) OUTPUT inserted.id VALUES (?, ?, ?, ?, ?, ?)

INSERT INTO file_departure (file_version_id, location_id, action, place, size, mtime_ns, ctime_ns, inode, device, planned_at_us, ended_at_us, outcome, message) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

INSERT INTO file_location (id, source_root_id, path, deleted) VALUES (?, ?, ?, ?)

INSERT INTO file_location (id, source_root_id, path, size, mtime_ns, ctime_ns, inode, device, content_hash, current_version_id, versions, hashed_at_us, deleted) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

INSERT INTO file_tag (file_version_id, tag, rule_id) SELECT file_version.id, ? AS anon_1, ? AS anon_2 FROM file_version WHERE file_version.id BETWEEN ? AND ?

INSERT INTO file_tag (file_version_id, tag, rule_id) VALUES (?, ?, ?)

INSERT INTO file_version (id, location_id, ordinal, content_hash, size, mtime_ns, ctime_ns, inode, device, seen_at_us) SELECT file_location.current_version_id, file_location.id, file_location.versions, file_location.content_hash, file_location.size, file_location.mtime_ns, file_location.ctime_ns, file_location.inode, file_location.device, ? AS anon_1 FROM file_location WHERE file_location.id BETWEEN ? AND ?

INSERT INTO installation (id, uuid, ageing_us, revision, created_at_us) VALUES (?, ?, ?, ?, ?)

INSERT INTO job_event (job_id, attempt, at_us, event, message, actor) SELECT processing_job.id, processing_job.attempt, ? AS anon_1, ? AS anon_2, ? + CAST(processing_job.id - ? AS NVARCHAR(20)) + ? AS anon_3, ? AS anon_4 FROM processing_job WHERE processing_job.id > ?

INSERT INTO job_event (job_id, attempt, at_us, event, worker, error_class, message, detail, actor) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)

INSERT INTO plugin_config (plugin_name, tags, settings, timeout_s, memory_mb, cpu_s, max_rejects, active, grants) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)

INSERT INTO plugin_deployment (plugin_name, version, content_hash, origin, verdict, message, at_us, actor, key_id, scheme, body, signature) OUTPUT inserted.id VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

INSERT INTO plugin_environment (digest, directory, python, packages, noted_at_us) OUTPUT inserted.id VALUES (?, ?, ?, ?, ?)

INSERT INTO plugin_manifest (plugin_name, content_hash, code, origin, version, created_at_us, live) OUTPUT inserted.id VALUES (?, ?, ?, ?, ?, ?, ?)

INSERT INTO processing_job (id, status, plugin_name, plugin_hash, file_version_id, location_id, ordinal, priority, due, attempt, tries, crashes, token, worker, lease_until_us, not_before_us, enqueued_at_us, started_at_us, decided_at_us, finished_at_us, rows, rejects, error_class, error_message, manifest, kind, sandbox, environment) OUTPUT inserted.id VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

INSERT INTO processing_job (id, status, plugin_name, plugin_hash, file_version_id, location_id, ordinal, priority, due, attempt, tries, crashes, token, worker, lease_until_us, not_before_us, enqueued_at_us, started_at_us, decided_at_us, finished_at_us, rows, rejects, error_class, error_message, manifest, kind, sandbox, environment) SELECT processing_job.id + ? AS id, processing_job.status, processing_job.plugin_name, processing_job.plugin_hash, processing_job.file_version_id, processing_job.location_id, processing_job.ordinal, processing_job.priority, processing_job.due, processing_job.attempt, processing_job.tries, processing_job.crashes, processing_job.token, processing_job.worker, processing_job.lease_until_us, processing_job.not_before_us, processing_job.enqueued_at_us, processing_job.started_at_us, processing_job.decided_at_us, processing_job.finished_at_us, processing_job.rows, processing_job.rejects, processing_job.error_class, processing_job.error_message, processing_job.manifest, processing_job.kind, processing_job.sandbox, processing_job.environment FROM processing_job WHERE processing_job.id <= ? AND processing_job.status IN (?, ?)

INSERT INTO processing_job (status, plugin_name, file_version_id, location_id, ordinal, priority, due, attempt, token, worker, lease_until_us, not_before_us, enqueued_at_us, started_at_us, kind) OUTPUT inserted.id, inserted.plugin_name, inserted.plugin_hash, inserted.attempt, inserted.token, inserted.file_version_id, inserted.location_id, inserted.ordinal, inserted.priority, inserted.enqueued_at_us, inserted.kind, inserted.due VALUES (?, ?, ?, ?, ?, ?, ?, ?, LOWER(REPLACE(CAST(NEWID() AS VARCHAR(36)), '-', '')), ?, ?, ?, ?, ?, ?)

INSERT INTO processing_job (status, plugin_name, file_version_id, location_id, ordinal, priority, due, not_before_us, enqueued_at_us) SELECT ? AS anon_1, ? AS anon_2, file_version.id, file_version.location_id, file_version.ordinal, ? AS anon_3, ? AS anon_4, ? AS anon_5, ? AS anon_6 FROM file_version WHERE file_version.id BETWEEN ? AND ?

INSERT INTO processing_job (status, plugin_name, file_version_id, location_id, ordinal, priority, due, not_before_us, enqueued_at_us) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)

INSERT INTO pruning (at_us, actor, before_us, jobs, events) OUTPUT inserted.id VALUES (?, ?, ?, ?, ?)

INSERT INTO publish_slot (plugin_name, location_id, ordinal, enqueue, holder) VALUES (?, ?, ?, ?, ?)

INSERT INTO published_slot (plugin_name, location_id, topic, version_id, mode, scheme, location, name, bundle) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)

INSERT INTO routing_rule (pattern, tag, priority, position, active) OUTPUT inserted.id VALUES (?, ?, ?, ?, ?)

INSERT INTO scout_lease (source_root_id, fence, holder, hostname, host_key, pid, pid_started, lasting, until_us) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)

INSERT INTO source_root (path, active) OUTPUT inserted.id VALUES (?, ?)

INSERT INTO target_bundle (bundle_key, scheme, location, name, bundle, revision, installed) VALUES (?, ?, ?, ?, ?, ?, ?)

INSERT INTO target_schema (target_key, scheme, location, name, schema_json) VALUES (?, ?, ?, ?, ?)

INSERT INTO topic_config (plugin_name, topic, sink, mode, position, active, duplicates) OUTPUT inserted.id VALUES (?, ?, ?, ?, ?, ?, ?)

INSERT INTO worker_node (hostname, pid, id, host_key, pid_started, roles, endpoint, versions, git_hash, user_name, started_at_us, heartbeat_at_us, [load], stopped) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

SELECT ? AS anon_1 WHERE (EXISTS (SELECT * FROM published_slot WHERE published_slot.plugin_name = ? AND published_slot.location_id = ?)) OR (EXISTS (SELECT * FROM file_version, processing_job WHERE file_version.location_id = ? AND file_version.id != ? AND processing_job.file_version_id = file_version.id AND processing_job.plugin_name = ? AND processing_job.kind = ? AND processing_job.status != ?))

SELECT DISTINCT content_copy.plugin_name FROM content_copy

SELECT DISTINCT content_doer.plugin_name FROM content_doer

SELECT DISTINCT published_slot.plugin_name, published_slot.location_id, file_location.path, file_location.deleted, source_root.path AS root_path FROM published_slot JOIN file_location ON file_location.id = published_slot.location_id JOIN source_root ON source_root.id = file_location.source_root_id ORDER BY source_root.path, file_location.path, published_slot.plugin_name

SELECT DISTINCT published_slot.scheme, published_slot.location, published_slot.name FROM published_slot

SELECT DISTINCT topic_config.plugin_name FROM topic_config WHERE topic_config.active = 1 AND topic_config.topic != ? AND topic_config.duplicates = ?

SELECT TOP 1 file_location.id FROM file_location WHERE file_location.source_root_id = ? AND file_location.path BETWEEN ? AND ?

SELECT TOP 1 file_location.id, file_location.source_root_id, file_location.path, file_location.size, file_location.mtime_ns, file_location.ctime_ns, file_location.inode, file_location.device, file_location.content_hash, file_location.current_version_id, file_location.versions, file_location.hashed_at_us, file_location.missed_scans, file_location.deleted FROM file_location WHERE file_location.source_root_id = ? AND file_location.path < ? AND file_location.path > ? ORDER BY file_location.path

SELECT TOP 1 file_location.id, file_location.source_root_id, file_location.path, file_location.size, file_location.mtime_ns, file_location.ctime_ns, file_location.inode, file_location.device, file_location.content_hash, file_location.current_version_id, file_location.versions, file_location.hashed_at_us, file_location.missed_scans, file_location.deleted FROM file_location WHERE file_location.source_root_id = ? AND file_location.path > ? ORDER BY file_location.path

SELECT TOP 1 file_location.id, file_location.source_root_id, file_location.path, file_location.size, file_location.mtime_ns, file_location.ctime_ns, file_location.inode, file_location.device, file_location.content_hash, file_location.current_version_id, file_location.versions, file_location.hashed_at_us, file_location.missed_scans, file_location.deleted FROM file_location WHERE file_location.source_root_id = ? AND file_location.path >= ? AND file_location.path < ? AND file_location.path > ? ORDER BY file_location.path

SELECT TOP 1 file_location.id, file_location.source_root_id, file_location.path, file_location.size, file_location.mtime_ns, file_location.ctime_ns, file_location.inode, file_location.device, file_location.content_hash, file_location.current_version_id, file_location.versions, file_location.hashed_at_us, file_location.missed_scans, file_location.deleted FROM file_location WHERE file_location.source_root_id = ? AND file_location.path >= ? AND file_location.path > ? ORDER BY file_location.path

SELECT TOP 1 file_location.id, file_location.source_root_id, file_location.path, file_location.size, file_location.mtime_ns, file_location.ctime_ns, file_location.inode, file_location.device, file_location.content_hash, file_location.current_version_id, file_location.versions, file_location.hashed_at_us, file_location.missed_scans, file_location.deleted, file_version.id AS version_id, file_version.ordinal FROM file_location JOIN file_version ON file_version.id = file_location.current_version_id WHERE file_location.deleted = 0 AND file_location.content_hash = file_version.content_hash AND file_location.source_root_id = ? AND (EXISTS (SELECT * FROM processing_job WHERE processing_job.file_version_id = file_location.current_version_id AND processing_job.kind = ? AND processing_job.status = ?)) AND NOT ((EXISTS (SELECT * FROM processing_job WHERE processing_job.file_version_id = file_location.current_version_id AND (processing_job.kind = ? AND processing_job.status != ? OR processing_job.kind = ? AND (processing_job.status NOT IN (?, ?))))) OR (EXISTS (SELECT * FROM file_departure WHERE file_departure.file_version_id = file_location.current_version_id AND (file_departure.outcome IS NULL OR file_departure.outcome = ? OR file_departure.ended_at_us > ?)))) ORDER BY file_location.id

SELECT TOP 1 file_location.id, file_location.source_root_id, file_location.path, file_location.size, file_location.mtime_ns, file_location.ctime_ns, file_location.inode, file_location.device, file_location.content_hash, file_location.current_version_id, file_location.versions, file_location.hashed_at_us, file_location.missed_scans, file_location.deleted, file_version.id AS version_id, file_version.ordinal FROM file_location JOIN file_version ON file_version.id = file_location.current_version_id WHERE file_location.deleted = 0 AND file_location.content_hash = file_version.content_hash AND file_location.source_root_id = ? AND file_location.id IN (?, ?) AND file_location.id IN (?, ?)

SELECT TOP 1 file_location.id, file_location.source_root_id, file_location.path, file_version.ordinal, file_version.id AS version_id, file_version.content_hash FROM file_location JOIN file_version ON file_version.id = file_location.current_version_id WHERE file_location.source_root_id IN (?, ?) AND file_location.deleted = 0 AND file_location.id > ? ORDER BY file_location.id

SELECT TOP 1 processing_job.file_version_id, max(processing_job.id) AS job_id FROM processing_job WHERE processing_job.plugin_name = ? AND processing_job.kind = ? AND processing_job.status = ? AND processing_job.file_version_id > ? GROUP BY processing_job.file_version_id ORDER BY processing_job.file_version_id

SELECT TOP 1 processing_job.id, processing_job.attempt, processing_job.plugin_name, processing_job.file_version_id, processing_job.location_id, processing_job.ordinal, processing_job.priority, content_copy.content_hash FROM processing_job JOIN content_copy ON content_copy.job_id = processing_job.id JOIN file_location ON file_location.id = processing_job.location_id WHERE file_location.current_version_id = processing_job.file_version_id AND file_location.deleted = 0 AND content_copy.plugin_name = ? AND content_copy.content_hash = ? AND file_location.id != ? ORDER BY CASE WHEN (file_location.id = ?) THEN ? ELSE ? END, processing_job.id

SELECT TOP 1 processing_job.id, processing_job.attempt, processing_job.plugin_name, processing_job.file_version_id, processing_job.location_id, processing_job.ordinal, processing_job.priority, content_copy.content_hash FROM processing_job JOIN content_copy ON content_copy.job_id = processing_job.id JOIN file_location ON file_location.id = processing_job.location_id WHERE file_location.current_version_id = processing_job.file_version_id AND file_location.deleted = 0 AND content_copy.plugin_name = ? AND content_copy.content_hash = ? ORDER BY CASE WHEN (file_location.id = ?) THEN ? ELSE ? END, processing_job.id

SELECT TOP 1 pruning.id, pruning.at_us, pruning.actor, pruning.before_us, pruning.jobs, pruning.events FROM pruning ORDER BY pruning.id DESC

SELECT adopted_slot.id, adopted_slot.adoption_id, adopted_slot.plugin_name, adopted_slot.topic, adopted_slot.location_id, adopted_slot.version_id, adopted_slot.mode, adopted_slot.scheme, adopted_slot.location, adopted_slot.name, adopted_slot.former_uuid, adopted_slot.former_job_id, adopted_slot.former_location_id, adopted_slot.former_version_id, adopted_slot.former_ordinal, adopted_slot.content_hash, adopted_slot.rows FROM adopted_slot WHERE adopted_slot.location_id IN (?, ?) ORDER BY adopted_slot.id

SELECT adopted_slot.id, adopted_slot.adoption_id, adopted_slot.plugin_name, adopted_slot.topic, adopted_slot.location_id, adopted_slot.version_id, adopted_slot.mode, adopted_slot.scheme, adopted_slot.location, adopted_slot.name, adopted_slot.former_uuid, adopted_slot.former_job_id, adopted_slot.former_location_id, adopted_slot.former_version_id, adopted_slot.former_ordinal, adopted_slot.content_hash, adopted_slot.rows, adoption.at_us, adoption.actor, file_location.path, file_location.deleted, source_root.path AS root FROM adopted_slot JOIN adoption ON adoption.id = adopted_slot.adoption_id JOIN file_location ON file_location.id = adopted_slot.location_id JOIN source_root ON source_root.id = file_location.source_root_id WHERE adopted_slot.former_job_id = ? ORDER BY adopted_slot.id

SELECT adopted_slot.id, adopted_slot.adoption_id, adopted_slot.plugin_name, adopted_slot.topic, adopted_slot.location_id, adopted_slot.version_id, adopted_slot.mode, adopted_slot.scheme, adopted_slot.location, adopted_slot.name, adopted_slot.former_uuid, adopted_slot.former_job_id, adopted_slot.former_location_id, adopted_slot.former_version_id, adopted_slot.former_ordinal, adopted_slot.content_hash, adopted_slot.rows, adoption.at_us, adoption.actor, file_location.path, file_location.deleted, source_root.path AS root FROM adopted_slot JOIN adoption ON adoption.id = adopted_slot.adoption_id JOIN file_location ON file_location.id = adopted_slot.location_id JOIN source_root ON source_root.id = file_location.source_root_id WHERE adopted_slot.location_id = ? ORDER BY adopted_slot.id

SELECT adopted_version.location_id, adopted_version.version_id, adopted_version.content_hash FROM adopted_version WHERE adopted_version.location_id IN (?, ?)

SELECT adoption.former_uuid FROM adoption

SELECT alembic_version.version_num FROM alembic_version

SELECT content_copy.job_id AS copy_id, content_doer.job_id, file_location.path, source_root.path AS root_path FROM content_copy JOIN content_doer ON content_doer.plugin_name = content_copy.plugin_name AND content_doer.content_hash = content_copy.content_hash JOIN file_location ON file_location.id = content_doer.location_id JOIN source_root ON source_root.id = file_location.source_root_id WHERE content_copy.job_id IN (?, ?)

SELECT content_copy.job_id AS copy_id, content_doer.job_id, file_location.path, source_root.path AS root_path, processing_job_1.file_version_id, processing_job_1.plugin_name FROM content_copy JOIN content_doer ON content_doer.plugin_name = content_copy.plugin_name AND content_doer.content_hash = content_copy.content_hash JOIN file_location ON file_location.id = content_doer.location_id JOIN source_root ON source_root.id = file_location.source_root_id JOIN processing_job AS processing_job_1 ON processing_job_1.id = content_copy.job_id

SELECT content_doer.plugin_name, content_doer.content_hash, content_doer.job_id, content_doer.location_id FROM content_doer WHERE content_doer.plugin_name IN (?, ?) AND content_doer.content_hash IN (?, ?)

SELECT content_doer.plugin_name, content_doer.content_hash, content_doer.job_id, content_doer.location_id, processing_job.id FROM content_doer, processing_job WHERE content_doer.plugin_name = processing_job.plugin_name AND content_doer.location_id = processing_job.location_id AND processing_job.id IN (?) ORDER BY content_doer.plugin_name, content_doer.content_hash, processing_job.id

SELECT content_doer.plugin_name, content_doer.content_hash, content_doer.job_id, content_doer.location_id, processing_job.id FROM content_doer, processing_job WHERE content_doer.plugin_name = processing_job.plugin_name AND content_doer.location_id = processing_job.location_id AND processing_job.id IN (?, ?) ORDER BY content_doer.plugin_name, content_doer.content_hash, processing_job.id

SELECT count(*) AS count_1, coalesce(sum(processing_job.rows), ?) AS coalesce_1 FROM processing_job WHERE processing_job.finished_at_us > ? AND processing_job.finished_at_us IS NOT NULL AND processing_job.status = ?

SELECT count(*) AS targets FROM target_schema WHERE target_schema.scheme = ? AND target_schema.location = ?

SELECT count(processing_job.id) AS count_1 FROM processing_job WHERE processing_job.id <= ? AND processing_job.status IN (?, ?)

SELECT deploy_nonce.nonce FROM deploy_nonce WHERE deploy_nonce.nonce = ?

SELECT deploy_refusal.id, deploy_refusal.at_us, deploy_refusal.failed_check, deploy_refusal.message, deploy_refusal.plugin_name, deploy_refusal.version, deploy_refusal.key_id FROM deploy_refusal ORDER BY deploy_refusal.id

SELECT deploy_refusal.id, deploy_refusal.at_us, deploy_refusal.failed_check, deploy_refusal.message, deploy_refusal.plugin_name, deploy_refusal.version, deploy_refusal.key_id FROM deploy_refusal WHERE deploy_refusal.plugin_name = ? ORDER BY deploy_refusal.id

SELECT file_departure.file_version_id FROM file_departure WHERE file_departure.outcome = ? AND file_departure.file_version_id IN (?, ?)

SELECT file_departure.file_version_id, file_departure.location_id, file_departure.action, file_departure.place, file_departure.size, file_departure.mtime_ns, file_departure.ctime_ns, file_departure.inode, file_departure.device, file_departure.planned_at_us, file_departure.ended_at_us, file_departure.outcome, file_departure.message, file_location.path, file_version.content_hash FROM file_departure JOIN file_version ON file_version.id = file_departure.file_version_id JOIN file_location ON file_location.id = file_departure.location_id WHERE file_departure.file_version_id = ? ORDER BY file_departure.file_version_id

SELECT file_departure.file_version_id, file_departure.location_id, file_departure.action, file_departure.place, file_departure.size, file_departure.mtime_ns, file_departure.ctime_ns, file_departure.inode, file_departure.device, file_departure.planned_at_us, file_departure.ended_at_us, file_departure.outcome, file_departure.message, file_location.path, file_version.content_hash FROM file_departure JOIN file_version ON file_version.id = file_departure.file_version_id JOIN file_location ON file_location.id = file_departure.location_id WHERE file_departure.file_version_id IN (?, ?) ORDER BY file_departure.file_version_id

SELECT file_departure.file_version_id, file_departure.location_id, file_departure.action, file_departure.place, file_departure.size, file_departure.mtime_ns, file_departure.ctime_ns, file_departure.inode, file_departure.device, file_departure.planned_at_us, file_departure.ended_at_us, file_departure.outcome, file_departure.message, file_location.path, file_version.content_hash FROM file_departure JOIN file_version ON file_version.id = file_departure.file_version_id JOIN file_location ON file_location.id = file_departure.location_id WHERE file_departure.location_id = ? ORDER BY file_departure.file_version_id

SELECT file_departure.file_version_id, file_departure.location_id, file_departure.action, file_departure.place, file_departure.size, file_departure.mtime_ns, file_departure.ctime_ns, file_departure.inode, file_departure.device, file_departure.planned_at_us, file_departure.ended_at_us, file_departure.outcome, file_departure.message, file_location.path, file_version.content_hash FROM file_departure JOIN file_version ON file_version.id = file_departure.file_version_id JOIN file_location ON file_location.id = file_departure.location_id WHERE file_departure.outcome IS NULL AND file_location.source_root_id = ? ORDER BY file_departure.file_version_id

SELECT file_location.id AS location_id, file_version.id, file_version.ordinal FROM file_location JOIN file_version ON file_version.id = file_location.current_version_id WHERE file_location.id IN (?, ?)

SELECT file_location.id, file_location.path, CASE WHEN (EXISTS (SELECT * FROM processing_job WHERE processing_job.file_version_id = file_location.current_version_id AND processing_job.kind = ? AND processing_job.status = ?)) THEN ? ELSE ? END AS done, CASE WHEN (file_location.content_hash = file_version.content_hash AND NOT ((EXISTS (SELECT * FROM processing_job WHERE processing_job.file_version_id = file_location.current_version_id AND (processing_job.kind = ? AND processing_job.status != ? OR processing_job.kind = ? AND (processing_job.status NOT IN (?, ?))))) OR (EXISTS (SELECT * FROM file_departure WHERE file_departure.file_version_id = file_location.current_version_id AND (file_departure.outcome IS NULL OR file_departure.outcome = ? OR file_departure.ended_at_us > ?))))) THEN ? ELSE ? END AS in_the_way FROM file_location JOIN file_version ON file_version.id = file_location.current_version_id WHERE file_location.source_root_id = ? AND file_location.deleted = 0 ORDER BY file_location.id

SELECT file_location.id, file_location.path, file_location.deleted, file_location.content_hash, file_location.current_version_id, file_version.content_hash AS [current] FROM file_location LEFT OUTER JOIN file_version ON file_version.id = file_location.current_version_id WHERE file_location.source_root_id = ? AND file_location.path IN (?, ?)

SELECT file_location.id, file_location.source_root_id, file_location.path, file_location.size, file_location.mtime_ns, file_location.ctime_ns, file_location.inode, file_location.device, file_location.content_hash, file_location.current_version_id, file_location.versions, file_location.hashed_at_us, file_location.missed_scans, file_location.deleted FROM file_location WHERE file_location.id IN (?, ?)

SELECT file_location.id, file_location.source_root_id, file_location.path, file_location.size, file_location.mtime_ns, file_location.ctime_ns, file_location.inode, file_location.device, file_location.content_hash, file_location.current_version_id, file_location.versions, file_location.hashed_at_us, file_location.missed_scans, file_location.deleted FROM file_location WHERE file_location.source_root_id = ? AND file_location.path IN (?)

SELECT file_location.id, file_location.source_root_id, file_location.path, file_location.size, file_location.mtime_ns, file_location.ctime_ns, file_location.inode, file_location.device, file_location.content_hash, file_location.current_version_id, file_location.versions, file_location.hashed_at_us, file_location.missed_scans, file_location.deleted FROM file_location WHERE file_location.source_root_id = ? AND file_location.path IN (?, ?)

SELECT file_location.id, file_location.source_root_id, file_location.path, file_location.size, file_location.mtime_ns, file_location.ctime_ns, file_location.inode, file_location.device, file_location.content_hash, file_location.current_version_id, file_location.versions, file_location.hashed_at_us, file_location.missed_scans, file_location.deleted, file_version.id AS version_id, file_version.ordinal FROM file_location JOIN file_version ON file_version.id = file_location.current_version_id WHERE file_location.deleted = 0 AND file_location.content_hash = file_version.content_hash AND file_location.source_root_id = (SELECT file_location.source_root_id FROM file_location WHERE file_location.id = ?) AND file_location.path >= ? AND file_location.path < ? AND file_location.inode = ? AND file_location.device = ? ORDER BY file_location.id

SELECT file_location.id, file_location.source_root_id, file_location.path, file_location.size, file_location.mtime_ns, file_location.ctime_ns, file_location.inode, file_location.device, file_location.content_hash, file_location.current_version_id, file_location.versions, file_location.hashed_at_us, file_location.missed_scans, file_location.deleted, source_root.path AS root_path FROM file_location JOIN source_root ON source_root.id = file_location.source_root_id ORDER BY source_root.path, file_location.path

SELECT file_location.id, file_location.source_root_id, file_location.path, file_location.size, file_location.mtime_ns, file_location.ctime_ns, file_location.inode, file_location.device, file_location.content_hash, file_location.current_version_id, file_location.versions, file_location.hashed_at_us, file_location.missed_scans, file_location.deleted, source_root.path AS root_path FROM file_location JOIN source_root ON source_root.id = file_location.source_root_id WHERE file_location.id = ?

SELECT file_location.id, file_location.source_root_id, file_location.path, file_location.size, file_location.mtime_ns, file_location.ctime_ns, file_location.inode, file_location.device, file_location.content_hash, file_location.current_version_id, file_location.versions, file_location.hashed_at_us, file_location.missed_scans, file_location.deleted, source_root.path AS root_path FROM file_location JOIN source_root ON source_root.id = file_location.source_root_id WHERE file_location.path = ? AND file_location.source_root_id IN (SELECT source_root.id FROM source_root) ORDER BY source_root.path

SELECT file_tag.file_version_id, file_tag.tag FROM file_tag JOIN file_location ON file_location.current_version_id = file_tag.file_version_id

SELECT file_tag.file_version_id, file_tag.tag FROM file_tag WHERE file_tag.file_version_id IN (?, ?)

SELECT file_tag.tag, routing_rule.id, routing_rule.pattern, routing_rule.tag AS tag_1, routing_rule.priority, routing_rule.position, routing_rule.active FROM file_tag LEFT OUTER JOIN routing_rule ON routing_rule.id = file_tag.rule_id WHERE file_tag.file_version_id = ?

SELECT file_version.content_hash, file_location.current_version_id, file_location.deleted FROM file_version JOIN file_location ON file_location.id = file_version.location_id WHERE file_version.id = ?

SELECT file_version.content_hash, processing_job.id, processing_job.location_id FROM processing_job JOIN file_version ON file_version.id = processing_job.file_version_id WHERE processing_job.plugin_name = ? AND processing_job.kind = ? AND processing_job.status = ? AND (EXISTS (SELECT * FROM publish_slot, published_slot WHERE publish_slot.plugin_name = ? AND publish_slot.location_id = processing_job.location_id AND published_slot.plugin_name = ? AND published_slot.location_id = processing_job.location_id AND (published_slot.version_id = ? AND publish_slot.enqueue = processing_job.id OR published_slot.version_id = processing_job.file_version_id))) ORDER BY processing_job.id

SELECT file_version.content_hash, processing_job.id, processing_job.location_id FROM processing_job JOIN file_version ON file_version.id = processing_job.file_version_id WHERE processing_job.plugin_name = ? AND processing_job.kind = ? AND processing_job.status IN (?, ?) ORDER BY processing_job.id

SELECT file_version.id FROM file_version JOIN file_location ON file_location.current_version_id = file_version.id WHERE file_location.id = ? AND file_version.ordinal > ?

SELECT file_version.id, file_version.location_id, file_version.ordinal, file_version.content_hash, file_version.size, file_version.mtime_ns, file_version.ctime_ns, file_version.inode, file_version.device, file_version.seen_at_us FROM file_version JOIN file_location ON file_location.current_version_id = file_version.id

SELECT file_version.id, file_version.location_id, file_version.ordinal, file_version.content_hash, file_version.size, file_version.mtime_ns, file_version.ctime_ns, file_version.inode, file_version.device, file_version.seen_at_us FROM file_version WHERE file_version.id = ?

SELECT file_version.id, file_version.location_id, file_version.ordinal, file_version.content_hash, file_version.size, file_version.mtime_ns, file_version.ctime_ns, file_version.inode, file_version.device, file_version.seen_at_us FROM file_version WHERE file_version.id IN (?, ?)

SELECT file_version.id, file_version.location_id, file_version.ordinal, file_version.content_hash, file_version.size, file_version.mtime_ns, file_version.ctime_ns, file_version.inode, file_version.device, file_version.seen_at_us FROM file_version WHERE file_version.location_id = ? ORDER BY file_version.ordinal

SELECT file_version.id, source_root.path AS root_path, file_location.path, file_version.content_hash, CASE WHEN (file_location.current_version_id = file_version.id AND file_location.content_hash = file_version.content_hash) THEN file_location.size ELSE file_version.size END AS size, CASE WHEN (file_location.current_version_id = file_version.id AND file_location.content_hash = file_version.content_hash) THEN file_location.mtime_ns ELSE file_version.mtime_ns END AS mtime_ns, CASE WHEN (file_location.current_version_id = file_version.id AND file_location.content_hash = file_version.content_hash) THEN file_location.ctime_ns ELSE file_version.ctime_ns END AS ctime_ns, CASE WHEN (file_location.current_version_id = file_version.id AND file_location.content_hash = file_version.content_hash) THEN file_location.inode ELSE file_version.inode END AS inode, CASE WHEN (file_location.current_version_id = file_version.id AND file_location.content_hash = file_version.content_hash) THEN file_location.device ELSE file_version.device END AS device FROM file_version, source_root, file_location WHERE file_location.id = file_version.location_id AND source_root.id = file_location.source_root_id AND file_version.id IN (?)

SELECT installation.ageing_us FROM installation

SELECT installation.id FROM installation

SELECT installation.revision FROM installation

SELECT installation.uuid FROM installation

SELECT job_event.id, job_event.job_id, job_event.attempt, job_event.at_us, job_event.event, job_event.worker, job_event.error_class, job_event.message, job_event.detail, job_event.actor FROM job_event WHERE job_event.job_id IN (?, ?) ORDER BY job_event.id

SELECT max(alembic_version.version_num) AS max_1 FROM alembic_version

SELECT max(deploy_refusal.id) AS max_1 FROM deploy_refusal

SELECT max(plugin_deployment.version) AS max_1 FROM plugin_deployment WHERE plugin_deployment.plugin_name = ? AND plugin_deployment.version <= ?

SELECT max(processing_job.id) AS max_1 FROM processing_job

SELECT min(processing_job.not_before_us) AS min_1 FROM processing_job WHERE processing_job.status = 'QUEUED'

SELECT min(processing_job.not_before_us) AS min_1 FROM processing_job WHERE processing_job.status = 'QUEUED' AND processing_job.plugin_name IN (?, ?)

SELECT plugin_config.plugin_name FROM plugin_config WHERE plugin_config.active = 1

SELECT plugin_config.plugin_name, plugin_config.tags FROM plugin_config WHERE plugin_config.active = 1 ORDER BY plugin_config.plugin_name

SELECT plugin_config.plugin_name, plugin_config.tags, plugin_config.settings, plugin_config.timeout_s, plugin_config.memory_mb, plugin_config.cpu_s, plugin_config.max_rejects, plugin_config.active, plugin_config.grants FROM plugin_config

SELECT plugin_config.plugin_name, plugin_config.tags, plugin_config.settings, plugin_config.timeout_s, plugin_config.memory_mb, plugin_config.cpu_s, plugin_config.max_rejects, plugin_config.active, plugin_config.grants FROM plugin_config ORDER BY plugin_config.plugin_name

SELECT plugin_deployment.id, plugin_deployment.plugin_name, plugin_deployment.version, plugin_deployment.content_hash, plugin_deployment.origin, plugin_deployment.verdict, plugin_deployment.message, plugin_deployment.at_us, plugin_deployment.actor, plugin_deployment.key_id, plugin_deployment.scheme, plugin_deployment.body, plugin_deployment.signature FROM plugin_deployment JOIN plugin_manifest ON plugin_deployment.plugin_name = plugin_manifest.plugin_name AND plugin_deployment.version = plugin_manifest.version WHERE plugin_manifest.live = 1 ORDER BY plugin_deployment.plugin_name

SELECT plugin_deployment.id, plugin_deployment.plugin_name, plugin_deployment.version, plugin_deployment.content_hash, plugin_deployment.origin, plugin_deployment.verdict, plugin_deployment.message, plugin_deployment.at_us, plugin_deployment.actor, plugin_deployment.key_id, plugin_deployment.scheme, plugin_deployment.body, plugin_deployment.signature FROM plugin_deployment ORDER BY plugin_deployment.plugin_name, plugin_deployment.version

SELECT plugin_deployment.id, plugin_deployment.plugin_name, plugin_deployment.version, plugin_deployment.content_hash, plugin_deployment.origin, plugin_deployment.verdict, plugin_deployment.message, plugin_deployment.at_us, plugin_deployment.actor, plugin_deployment.key_id, plugin_deployment.scheme, plugin_deployment.body, plugin_deployment.signature FROM plugin_deployment WHERE plugin_deployment.plugin_name = ? ORDER BY plugin_deployment.plugin_name, plugin_deployment.version

SELECT plugin_deployment.origin FROM plugin_deployment WHERE plugin_deployment.plugin_name = ? AND plugin_deployment.verdict = ? ORDER BY plugin_deployment.version DESC

SELECT plugin_environment.id FROM plugin_environment WHERE plugin_environment.digest = ?

SELECT plugin_environment.id, plugin_environment.digest, plugin_environment.directory, plugin_environment.python, plugin_environment.packages, plugin_environment.noted_at_us FROM plugin_environment WHERE plugin_environment.digest IN (?, ?)

SELECT plugin_environment.id, plugin_environment.digest, plugin_environment.directory, plugin_environment.python, plugin_environment.packages, plugin_environment.noted_at_us FROM plugin_environment WHERE plugin_environment.directory = ? ORDER BY plugin_environment.id

SELECT plugin_manifest.content_hash FROM plugin_manifest JOIN plugin_config ON plugin_config.plugin_name = plugin_manifest.plugin_name WHERE plugin_manifest.plugin_name = ? AND plugin_manifest.live = 1 AND plugin_config.active = 1

SELECT plugin_manifest.content_hash FROM plugin_manifest WHERE plugin_manifest.plugin_name = ? AND plugin_manifest.live = 1

SELECT plugin_manifest.id FROM plugin_manifest JOIN plugin_environment ON plugin_environment.digest = plugin_manifest.environment WHERE plugin_manifest.plugin_name = ? AND plugin_manifest.content_hash = ? AND plugin_manifest.environment = ?

SELECT plugin_manifest.id FROM plugin_manifest WHERE plugin_manifest.plugin_name = ? AND plugin_manifest.content_hash = ?

SELECT plugin_manifest.id, plugin_manifest.plugin_name, plugin_manifest.content_hash, plugin_manifest.code, plugin_manifest.origin, plugin_manifest.version, plugin_manifest.created_at_us, plugin_manifest.live, plugin_manifest.quarantined_at_us, plugin_manifest.quarantine_reason, plugin_manifest.environment FROM plugin_manifest WHERE plugin_manifest.content_hash = ? AND plugin_manifest.plugin_name = ? ORDER BY plugin_manifest.plugin_name

SELECT plugin_manifest.id, plugin_manifest.plugin_name, plugin_manifest.content_hash, plugin_manifest.code, plugin_manifest.origin, plugin_manifest.version, plugin_manifest.created_at_us, plugin_manifest.live, plugin_manifest.quarantined_at_us, plugin_manifest.quarantine_reason, plugin_manifest.environment FROM plugin_manifest WHERE plugin_manifest.content_hash = ? ORDER BY plugin_manifest.plugin_name

SELECT plugin_manifest.id, plugin_manifest.plugin_name, plugin_manifest.content_hash, plugin_manifest.code, plugin_manifest.origin, plugin_manifest.version, plugin_manifest.created_at_us, plugin_manifest.live, plugin_manifest.quarantined_at_us, plugin_manifest.quarantine_reason, plugin_manifest.environment FROM plugin_manifest WHERE plugin_manifest.live = 1

SELECT plugin_manifest.plugin_name, plugin_manifest.content_hash, plugin_manifest.quarantined_at_us FROM plugin_manifest WHERE plugin_manifest.live = 1 ORDER BY plugin_manifest.plugin_name

SELECT plugin_manifest.plugin_name, plugin_manifest.quarantine_reason FROM plugin_manifest WHERE plugin_manifest.live = 1 AND plugin_manifest.quarantined_at_us IS NOT NULL

SELECT processing_job.file_version_id, max(processing_job.id) AS job_id FROM processing_job WHERE processing_job.plugin_name = ? AND processing_job.kind = ? AND processing_job.status = ? AND processing_job.file_version_id IN (?, ?) GROUP BY processing_job.file_version_id ORDER BY processing_job.file_version_id

SELECT processing_job.file_version_id, processing_job.plugin_name FROM processing_job WHERE processing_job.file_version_id IN (?, ?) AND processing_job.kind = ?

SELECT processing_job.id, processing_job.attempt, processing_job.plugin_name, processing_job.file_version_id, processing_job.location_id, processing_job.ordinal, processing_job.priority, content_copy.content_hash FROM processing_job JOIN content_copy ON content_copy.job_id = processing_job.id JOIN file_location ON file_location.id = processing_job.location_id WHERE file_location.current_version_id = processing_job.file_version_id AND file_location.deleted = 0 AND content_copy.plugin_name = ? ORDER BY processing_job.id

SELECT processing_job.id, processing_job.attempt, processing_job.worker FROM processing_job JOIN file_location ON file_location.current_version_id = processing_job.file_version_id WHERE file_location.id = ? ORDER BY processing_job.id

SELECT processing_job.id, processing_job.attempt, processing_job.worker FROM processing_job WHERE processing_job.id IN (?, ?) ORDER BY processing_job.id

SELECT processing_job.id, processing_job.file_version_id, processing_job.kind, processing_job.status FROM processing_job WHERE processing_job.plugin_name = ? AND processing_job.file_version_id IN (?, ?) ORDER BY processing_job.id

SELECT processing_job.id, processing_job.plugin_name, processing_job.location_id, processing_job.ordinal FROM processing_job WHERE processing_job.finished_at_us IS NOT NULL AND processing_job.status = ?

SELECT processing_job.id, processing_job.plugin_name, processing_job.location_id, processing_job.status, processing_job.kind FROM processing_job JOIN file_version ON file_version.id = processing_job.file_version_id WHERE file_version.location_id IN (?, ?) AND processing_job.status IN (?, ?) ORDER BY processing_job.id

SELECT processing_job.id, processing_job.plugin_name, processing_job.plugin_hash, processing_job.file_version_id, processing_job.location_id, processing_job.ordinal, processing_job.rows, publish_slot.ordinal AS standing FROM processing_job LEFT OUTER JOIN publish_slot ON publish_slot.plugin_name = processing_job.plugin_name AND publish_slot.location_id = processing_job.location_id WHERE processing_job.id IN (?, ?) AND (processing_job.plugin_hash IS NULL OR processing_job.plugin_hash != ?)

SELECT processing_job.id, processing_job.status, processing_job.attempt, processing_job.token FROM processing_job WHERE processing_job.id IN (?, ?)

SELECT processing_job.id, processing_job.status, processing_job.attempt, processing_job.token, processing_job.plugin_name, processing_job.location_id FROM processing_job WHERE processing_job.id IN (?) ORDER BY processing_job.id

SELECT processing_job.id, processing_job.status, processing_job.attempt, processing_job.token, processing_job.plugin_name, processing_job.location_id FROM processing_job WHERE processing_job.id IN (?, ?) ORDER BY processing_job.id

SELECT processing_job.id, processing_job.status, processing_job.plugin_name, processing_job.plugin_hash, processing_job.file_version_id, processing_job.location_id, processing_job.ordinal, processing_job.priority, processing_job.attempt, processing_job.tries, processing_job.crashes, processing_job.token, processing_job.worker, processing_job.lease_until_us, processing_job.not_before_us, processing_job.enqueued_at_us, processing_job.started_at_us, processing_job.decided_at_us, processing_job.finished_at_us, processing_job.rows, processing_job.rejects, processing_job.error_class, processing_job.error_message, processing_job.kind, processing_job.sandbox, processing_job.environment FROM processing_job WHERE processing_job.id IN (?, ?) ORDER BY processing_job.id

SELECT processing_job.id, processing_job.status, processing_job.plugin_name, processing_job.plugin_hash, processing_job.file_version_id, processing_job.location_id, processing_job.ordinal, processing_job.priority, processing_job.attempt, processing_job.tries, processing_job.crashes, processing_job.token, processing_job.worker, processing_job.lease_until_us, processing_job.not_before_us, processing_job.enqueued_at_us, processing_job.started_at_us, processing_job.decided_at_us, processing_job.finished_at_us, processing_job.rows, processing_job.rejects, processing_job.error_class, processing_job.error_message, processing_job.kind, processing_job.sandbox, processing_job.environment FROM processing_job WHERE processing_job.status = 'QUEUED' AND processing_job.plugin_name = ?

SELECT processing_job.id, processing_job.status, processing_job.plugin_name, processing_job.plugin_hash, processing_job.file_version_id, processing_job.location_id, processing_job.ordinal, processing_job.priority, processing_job.attempt, processing_job.tries, processing_job.crashes, processing_job.token, processing_job.worker, processing_job.lease_until_us, processing_job.not_before_us, processing_job.enqueued_at_us, processing_job.started_at_us, processing_job.decided_at_us, processing_job.finished_at_us, processing_job.rows, processing_job.rejects, processing_job.error_class, processing_job.error_message, processing_job.kind, processing_job.sandbox, processing_job.environment FROM processing_job WHERE processing_job.token IS NOT NULL AND processing_job.status = ? AND processing_job.lease_until_us >= ? AND (processing_job.lease_until_us <= ? OR processing_job.worker IN (?, ?))

SELECT processing_job.id, processing_job.status, processing_job.plugin_name, processing_job.plugin_hash, processing_job.file_version_id, processing_job.location_id, processing_job.ordinal, processing_job.priority, processing_job.attempt, processing_job.tries, processing_job.crashes, processing_job.token, processing_job.worker, processing_job.lease_until_us, processing_job.not_before_us, processing_job.enqueued_at_us, processing_job.started_at_us, processing_job.decided_at_us, processing_job.finished_at_us, processing_job.rows, processing_job.rejects, processing_job.error_class, processing_job.error_message, processing_job.kind, processing_job.sandbox, processing_job.environment FROM processing_job WHERE processing_job.token IS NOT NULL AND processing_job.status = ? AND processing_job.lease_until_us >= ? AND processing_job.lease_until_us <= ?

SELECT processing_job.id, processing_job.status, processing_job.plugin_name, processing_job.plugin_hash, processing_job.file_version_id, processing_job.location_id, processing_job.ordinal, processing_job.priority, processing_job.attempt, processing_job.tries, processing_job.crashes, processing_job.token, processing_job.worker, processing_job.lease_until_us, processing_job.not_before_us, processing_job.enqueued_at_us, processing_job.started_at_us, processing_job.decided_at_us, processing_job.finished_at_us, processing_job.rows, processing_job.rejects, processing_job.error_class, processing_job.error_message, processing_job.kind, processing_job.sandbox, processing_job.environment, file_location.path AS file_path FROM processing_job JOIN file_location ON file_location.id = processing_job.location_id ORDER BY processing_job.id

SELECT processing_job.id, processing_job.status, processing_job.plugin_name, processing_job.plugin_hash, processing_job.file_version_id, processing_job.location_id, processing_job.ordinal, processing_job.priority, processing_job.attempt, processing_job.tries, processing_job.crashes, processing_job.token, processing_job.worker, processing_job.lease_until_us, processing_job.not_before_us, processing_job.enqueued_at_us, processing_job.started_at_us, processing_job.decided_at_us, processing_job.finished_at_us, processing_job.rows, processing_job.rejects, processing_job.error_class, processing_job.error_message, processing_job.kind, processing_job.sandbox, processing_job.environment, file_location.path AS file_path FROM processing_job JOIN file_location ON file_location.id = processing_job.location_id WHERE processing_job.finished_at_us IS NOT NULL AND processing_job.status = ? AND processing_job.id IN (?, ?) ORDER BY processing_job.id

SELECT processing_job.id, processing_job.status, processing_job.plugin_name, processing_job.plugin_hash, processing_job.file_version_id, processing_job.location_id, processing_job.ordinal, processing_job.priority, processing_job.attempt, processing_job.tries, processing_job.crashes, processing_job.token, processing_job.worker, processing_job.lease_until_us, processing_job.not_before_us, processing_job.enqueued_at_us, processing_job.started_at_us, processing_job.decided_at_us, processing_job.finished_at_us, processing_job.rows, processing_job.rejects, processing_job.error_class, processing_job.error_message, processing_job.kind, processing_job.sandbox, processing_job.environment, file_location.path AS file_path FROM processing_job JOIN file_location ON file_location.id = processing_job.location_id WHERE processing_job.finished_at_us IS NOT NULL AND processing_job.status = ? ORDER BY processing_job.id

SELECT processing_job.id, processing_job.status, processing_job.plugin_name, processing_job.plugin_hash, processing_job.file_version_id, processing_job.location_id, processing_job.ordinal, processing_job.priority, processing_job.attempt, processing_job.tries, processing_job.crashes, processing_job.token, processing_job.worker, processing_job.lease_until_us, processing_job.not_before_us, processing_job.enqueued_at_us, processing_job.started_at_us, processing_job.decided_at_us, processing_job.finished_at_us, processing_job.rows, processing_job.rejects, processing_job.error_class, processing_job.error_message, processing_job.kind, processing_job.sandbox, processing_job.environment, file_location.path AS file_path FROM processing_job JOIN file_location ON file_location.id = processing_job.location_id WHERE processing_job.finished_at_us IS NOT NULL AND processing_job.status IN (?, ?) AND NOT (processing_job.kind = ? AND processing_job.status = ?) AND file_location.current_version_id = processing_job.file_version_id ORDER BY processing_job.id

SELECT processing_job.id, processing_job.status, processing_job.plugin_name, processing_job.plugin_hash, processing_job.file_version_id, processing_job.location_id, processing_job.ordinal, processing_job.priority, processing_job.attempt, processing_job.tries, processing_job.crashes, processing_job.token, processing_job.worker, processing_job.lease_until_us, processing_job.not_before_us, processing_job.enqueued_at_us, processing_job.started_at_us, processing_job.decided_at_us, processing_job.finished_at_us, processing_job.rows, processing_job.rejects, processing_job.error_class, processing_job.error_message, processing_job.kind, processing_job.sandbox, processing_job.environment, file_location.path AS file_path FROM processing_job JOIN file_location ON file_location.id = processing_job.location_id WHERE processing_job.id IN (?, ?) ORDER BY processing_job.id

SELECT processing_job.id, processing_job.status, processing_job.plugin_name, processing_job.plugin_hash, processing_job.file_version_id, processing_job.location_id, processing_job.ordinal, processing_job.priority, processing_job.attempt, processing_job.tries, processing_job.crashes, processing_job.token, processing_job.worker, processing_job.lease_until_us, processing_job.not_before_us, processing_job.enqueued_at_us, processing_job.started_at_us, processing_job.decided_at_us, processing_job.finished_at_us, processing_job.rows, processing_job.rejects, processing_job.error_class, processing_job.error_message, processing_job.kind, processing_job.sandbox, processing_job.environment, file_location.path AS file_path FROM processing_job JOIN file_location ON file_location.id = processing_job.location_id WHERE processing_job.plugin_name = ? ORDER BY processing_job.id

SELECT processing_job.id, processing_job.status, processing_job.plugin_name, processing_job.plugin_hash, processing_job.file_version_id, processing_job.location_id, processing_job.ordinal, processing_job.priority, processing_job.attempt, processing_job.tries, processing_job.crashes, processing_job.token, processing_job.worker, processing_job.lease_until_us, processing_job.not_before_us, processing_job.enqueued_at_us, processing_job.started_at_us, processing_job.decided_at_us, processing_job.finished_at_us, processing_job.rows, processing_job.rejects, processing_job.error_class, processing_job.error_message, processing_job.kind, processing_job.sandbox, processing_job.environment, file_location.path AS file_path FROM processing_job JOIN file_location ON file_location.id = processing_job.location_id WHERE processing_job.status = 'QUEUED' AND processing_job.plugin_name = ? ORDER BY processing_job.id

SELECT processing_job.id, processing_job.status, processing_job.plugin_name, processing_job.plugin_hash, processing_job.file_version_id, processing_job.location_id, processing_job.ordinal, processing_job.priority, processing_job.attempt, processing_job.tries, processing_job.crashes, processing_job.token, processing_job.worker, processing_job.lease_until_us, processing_job.not_before_us, processing_job.enqueued_at_us, processing_job.started_at_us, processing_job.decided_at_us, processing_job.finished_at_us, processing_job.rows, processing_job.rejects, processing_job.error_class, processing_job.error_message, processing_job.kind, processing_job.sandbox, processing_job.environment, processing_job.manifest FROM processing_job JOIN file_version ON file_version.id = processing_job.file_version_id WHERE file_version.location_id IN (?, ?) AND processing_job.status = ? AND processing_job.manifest IS NOT NULL

SELECT processing_job.id, processing_job.status, processing_job.plugin_name, processing_job.plugin_hash, processing_job.file_version_id, processing_job.location_id, processing_job.ordinal, processing_job.priority, processing_job.attempt, processing_job.tries, processing_job.crashes, processing_job.token, processing_job.worker, processing_job.lease_until_us, processing_job.not_before_us, processing_job.enqueued_at_us, processing_job.started_at_us, processing_job.decided_at_us, processing_job.finished_at_us, processing_job.rows, processing_job.rejects, processing_job.error_class, processing_job.error_message, processing_job.kind, processing_job.sandbox, processing_job.environment, processing_job.manifest FROM processing_job WHERE processing_job.file_version_id = ? ORDER BY processing_job.id

SELECT processing_job.id, processing_job.status, processing_job.plugin_name, processing_job.plugin_hash, processing_job.file_version_id, processing_job.location_id, processing_job.ordinal, processing_job.priority, processing_job.attempt, processing_job.tries, processing_job.crashes, processing_job.token, processing_job.worker, processing_job.lease_until_us, processing_job.not_before_us, processing_job.enqueued_at_us, processing_job.started_at_us, processing_job.decided_at_us, processing_job.finished_at_us, processing_job.rows, processing_job.rejects, processing_job.error_class, processing_job.error_message, processing_job.kind, processing_job.sandbox, processing_job.environment, processing_job.manifest FROM processing_job WHERE processing_job.file_version_id IN (SELECT file_version.id FROM file_version WHERE file_version.location_id = ?) AND processing_job.plugin_name = ? ORDER BY processing_job.id

SELECT processing_job.id, processing_job.status, processing_job.plugin_name, processing_job.plugin_hash, processing_job.file_version_id, processing_job.location_id, processing_job.ordinal, processing_job.priority, processing_job.attempt, processing_job.tries, processing_job.crashes, processing_job.token, processing_job.worker, processing_job.lease_until_us, processing_job.not_before_us, processing_job.enqueued_at_us, processing_job.started_at_us, processing_job.decided_at_us, processing_job.finished_at_us, processing_job.rows, processing_job.rejects, processing_job.error_class, processing_job.error_message, processing_job.kind, processing_job.sandbox, processing_job.environment, processing_job.manifest FROM processing_job WHERE processing_job.id = ? ORDER BY processing_job.id

SELECT processing_job.id, processing_job.status, processing_job.plugin_name, processing_job.plugin_hash, processing_job.file_version_id, processing_job.location_id, processing_job.ordinal, processing_job.priority, processing_job.due, processing_job.attempt, processing_job.tries, processing_job.crashes, processing_job.token, processing_job.worker, processing_job.lease_until_us, processing_job.not_before_us, processing_job.enqueued_at_us, processing_job.started_at_us, processing_job.decided_at_us, processing_job.finished_at_us, processing_job.rows, processing_job.rejects, processing_job.error_class, processing_job.error_message, processing_job.manifest, processing_job.kind, processing_job.sandbox FROM processing_job WHERE processing_job.file_version_id IN (?, ?) ORDER BY processing_job.id

SELECT processing_job.id, processing_job.status, processing_job.plugin_name, processing_job.plugin_hash, processing_job.file_version_id, processing_job.location_id, processing_job.ordinal, processing_job.priority, processing_job.due, processing_job.attempt, processing_job.tries, processing_job.crashes, processing_job.token, processing_job.worker, processing_job.lease_until_us, processing_job.not_before_us, processing_job.enqueued_at_us, processing_job.started_at_us, processing_job.decided_at_us, processing_job.finished_at_us, processing_job.rows, processing_job.rejects, processing_job.error_class, processing_job.error_message, processing_job.manifest, processing_job.kind, processing_job.sandbox FROM processing_job WHERE processing_job.token IS NOT NULL AND processing_job.status = ? OR processing_job.finished_at_us IS NOT NULL AND processing_job.status = ? ORDER BY processing_job.id

SELECT processing_job.id, processing_job.status, processing_job.plugin_name, processing_job.plugin_hash, processing_job.file_version_id, processing_job.location_id, processing_job.ordinal, processing_job.priority, processing_job.due, processing_job.attempt, processing_job.tries, processing_job.crashes, processing_job.token, processing_job.worker, processing_job.lease_until_us, processing_job.not_before_us, processing_job.enqueued_at_us, processing_job.started_at_us, processing_job.decided_at_us, processing_job.finished_at_us, processing_job.rows, processing_job.rejects, processing_job.error_class, processing_job.error_message, processing_job.manifest, processing_job.kind, processing_job.sandbox, processing_job.environment FROM processing_job WHERE processing_job.file_version_id IN (?, ?) ORDER BY processing_job.id

SELECT processing_job.id, processing_job.status, processing_job.plugin_name, processing_job.plugin_hash, processing_job.file_version_id, processing_job.location_id, processing_job.ordinal, processing_job.priority, processing_job.due, processing_job.attempt, processing_job.tries, processing_job.crashes, processing_job.token, processing_job.worker, processing_job.lease_until_us, processing_job.not_before_us, processing_job.enqueued_at_us, processing_job.started_at_us, processing_job.decided_at_us, processing_job.finished_at_us, processing_job.rows, processing_job.rejects, processing_job.error_class, processing_job.error_message, processing_job.manifest, processing_job.kind, processing_job.sandbox, processing_job.environment FROM processing_job WHERE processing_job.token IS NOT NULL AND processing_job.status = ? OR processing_job.finished_at_us IS NOT NULL AND processing_job.status = ? ORDER BY processing_job.id

SELECT processing_job.location_id, max(processing_job.id) AS newest FROM processing_job WHERE processing_job.plugin_name = ? AND processing_job.finished_at_us IS NOT NULL AND processing_job.status = ? AND processing_job.kind = ? GROUP BY processing_job.location_id

SELECT processing_job.plugin_name, processing_job.location_id, processing_job.ordinal, processing_job.id FROM processing_job WHERE processing_job.id IN (?, ?)

SELECT processing_job.status, count(*) AS count_1 FROM processing_job WHERE processing_job.status = 'QUEUED' GROUP BY processing_job.status UNION ALL SELECT processing_job.status, count(*) AS count_2 FROM processing_job WHERE processing_job.token IS NOT NULL GROUP BY processing_job.status UNION ALL SELECT processing_job.status, count(*) AS count_3 FROM processing_job WHERE processing_job.finished_at_us IS NOT NULL GROUP BY processing_job.status

SELECT processing_job.status, processing_job.kind, processing_job.manifest, file_version.content_hash FROM processing_job JOIN file_version ON file_version.id = processing_job.file_version_id WHERE processing_job.id = ?

SELECT processing_job.status, processing_job.plugin_name, count(*) AS count_1 FROM processing_job WHERE processing_job.status = 'QUEUED' GROUP BY processing_job.status, processing_job.plugin_name UNION ALL SELECT processing_job.status, processing_job.plugin_name, count(*) AS count_2 FROM processing_job WHERE processing_job.token IS NOT NULL GROUP BY processing_job.status, processing_job.plugin_name UNION ALL SELECT processing_job.status, processing_job.plugin_name, count(*) AS count_3 FROM processing_job WHERE processing_job.finished_at_us IS NOT NULL GROUP BY processing_job.status, processing_job.plugin_name

SELECT publish_slot.location_id, publish_slot.ordinal, publish_slot.enqueue, publish_slot.holder FROM publish_slot WHERE publish_slot.plugin_name = ? AND publish_slot.location_id IN (?)

SELECT publish_slot.location_id, publish_slot.ordinal, publish_slot.enqueue, publish_slot.holder FROM publish_slot WHERE publish_slot.plugin_name = ? AND publish_slot.location_id IN (?) ORDER BY publish_slot.location_id

SELECT publish_slot.location_id, publish_slot.ordinal, publish_slot.enqueue, publish_slot.holder FROM publish_slot WHERE publish_slot.plugin_name = ? AND publish_slot.location_id IN (?, ?)

SELECT publish_slot.location_id, publish_slot.ordinal, publish_slot.enqueue, publish_slot.holder FROM publish_slot WHERE publish_slot.plugin_name = ? AND publish_slot.location_id IN (?, ?) ORDER BY publish_slot.location_id

SELECT published_slot.id, published_slot.plugin_name, published_slot.location_id, published_slot.topic, published_slot.version_id, published_slot.mode, published_slot.scheme, published_slot.location, published_slot.name, published_slot.bundle FROM published_slot WHERE published_slot.plugin_name = ? AND published_slot.location_id IN (?)

SELECT published_slot.id, published_slot.plugin_name, published_slot.location_id, published_slot.topic, published_slot.version_id, published_slot.mode, published_slot.scheme, published_slot.location, published_slot.name, published_slot.bundle FROM published_slot WHERE published_slot.plugin_name = ? AND published_slot.location_id IN (?, ?)

SELECT routing_rule.id FROM routing_rule

SELECT routing_rule.id, routing_rule.pattern, routing_rule.tag, routing_rule.priority, routing_rule.position, routing_rule.active FROM routing_rule

SELECT routing_rule.id, routing_rule.pattern, routing_rule.tag, routing_rule.priority, routing_rule.position, routing_rule.active FROM routing_rule WHERE routing_rule.active = 1 ORDER BY routing_rule.position

SELECT scout_lease.fence FROM scout_lease WHERE scout_lease.source_root_id = ? AND scout_lease.fence = ?

SELECT scout_lease.source_root_id, scout_lease.fence FROM scout_lease WHERE scout_lease.holder = ?

SELECT scout_lease.source_root_id, scout_lease.fence, scout_lease.holder, scout_lease.hostname, scout_lease.host_key, scout_lease.pid, scout_lease.pid_started, scout_lease.lasting, scout_lease.until_us FROM scout_lease WHERE scout_lease.holder IS NOT NULL ORDER BY scout_lease.source_root_id

SELECT scout_lease.source_root_id, scout_lease.fence, scout_lease.holder, scout_lease.hostname, scout_lease.host_key, scout_lease.pid, scout_lease.pid_started, scout_lease.lasting, scout_lease.until_us FROM scout_lease WHERE scout_lease.source_root_id = ?

SELECT source_root.disturbances FROM source_root WHERE source_root.id = ?

SELECT source_root.id FROM source_root WHERE source_root.active = 1

SELECT source_root.id FROM source_root WHERE source_root.id = ?

SELECT source_root.id, source_root.path FROM source_root

SELECT source_root.id, source_root.path, source_root.active, source_root.disturbances FROM source_root

SELECT source_root.id, source_root.path, source_root.active, source_root.disturbances FROM source_root WHERE source_root.active = 1 ORDER BY source_root.id

SELECT source_root.id, source_root.path, source_root.active, source_root.disturbances, anon_1.known, anon_1.deleted, anon_1.versions, scout_lease.holder FROM source_root LEFT OUTER JOIN (SELECT file_location.source_root_id AS source_root_id, count(*) AS known, sum(CASE WHEN (file_location.deleted = 1) THEN ? ELSE ? END) AS deleted, sum(file_location.versions) AS versions FROM file_location GROUP BY file_location.source_root_id) AS anon_1 ON anon_1.source_root_id = source_root.id LEFT OUTER JOIN scout_lease ON scout_lease.source_root_id = source_root.id AND scout_lease.until_us > ? ORDER BY source_root.id

SELECT source_root.path FROM source_root WHERE source_root.active = 1 ORDER BY source_root.id

SELECT target_bundle.bundle_key, target_bundle.revision, target_bundle.installed FROM target_bundle WHERE target_bundle.bundle_key IN (?, ?) ORDER BY target_bundle.bundle_key

SELECT target_schema.target_key, target_schema.schema_json FROM target_schema WHERE target_schema.target_key IN (?, ?)

SELECT topic_config.id FROM topic_config WHERE topic_config.plugin_name = ? AND topic_config.active = 1 AND topic_config.mode = ?

SELECT topic_config.id, topic_config.plugin_name, topic_config.topic, topic_config.sink, topic_config.mode, topic_config.position, topic_config.active, topic_config.duplicates FROM topic_config

SELECT topic_config.id, topic_config.plugin_name, topic_config.topic, topic_config.sink, topic_config.mode, topic_config.position, topic_config.active, topic_config.duplicates FROM topic_config ORDER BY topic_config.position

SELECT topic_config.plugin_name FROM topic_config WHERE topic_config.active = 1

SELECT worker_node.hostname, worker_node.pid, worker_node.id, worker_node.host_key, worker_node.pid_started, worker_node.roles, worker_node.endpoint, worker_node.versions, worker_node.git_hash, worker_node.user_name, worker_node.started_at_us, worker_node.heartbeat_at_us, worker_node.[load], worker_node.stopped FROM worker_node ORDER BY worker_node.hostname, worker_node.pid

SELECT worker_node.id FROM worker_node WHERE worker_node.stopped = 0

UPDATE content_copy SET job_id=(content_copy.job_id + ?) WHERE content_copy.job_id IN (SELECT processing_job.id FROM processing_job WHERE processing_job.id <= ? AND processing_job.status IN (?, ?))

UPDATE content_doer SET job_id=(content_doer.job_id + ?) WHERE content_doer.job_id IN (SELECT processing_job.id FROM processing_job WHERE processing_job.id <= ? AND processing_job.status IN (?, ?))

UPDATE content_doer SET job_id=? WHERE content_doer.job_id = ?

UPDATE content_doer SET job_id=? WHERE content_doer.plugin_name = ? AND content_doer.content_hash = ?

UPDATE content_doer SET job_id=?, location_id=? WHERE content_doer.plugin_name = ? AND content_doer.content_hash = ?

UPDATE file_departure SET ended_at_us=?, outcome=?, message=? WHERE file_departure.file_version_id = ? AND file_departure.outcome IS NULL

UPDATE file_location SET deleted=? WHERE file_location.id IN (?, ?) AND file_location.deleted = 0 AND file_location.missed_scans >= ?

UPDATE file_location SET missed_scans=(file_location.missed_scans + ?) WHERE file_location.id IN (?, ?) AND file_location.deleted = 0

UPDATE file_location SET missed_scans=? WHERE file_location.id IN (?, ?) AND file_location.missed_scans > ? AND file_location.deleted = 0

UPDATE file_location SET missed_scans=?, deleted=? WHERE file_location.current_version_id = ? AND file_location.content_hash IS NOT NULL

UPDATE file_location SET missed_scans=?, deleted=? WHERE file_location.id IN (?, ?)

UPDATE file_location SET size=?, mtime_ns=?, ctime_ns=?, inode=?, device=?, content_hash=? WHERE file_location.id = ?

UPDATE file_location SET size=?, mtime_ns=?, ctime_ns=?, inode=?, device=?, content_hash=?, current_version_id=?, versions=?, hashed_at_us=?, missed_scans=?, deleted=? WHERE file_location.id = ?

UPDATE file_location SET size=?, mtime_ns=?, ctime_ns=?, inode=?, device=?, hashed_at_us=?, missed_scans=? WHERE file_location.id = ?

UPDATE installation SET ageing_us=? WHERE installation.ageing_us != ?

UPDATE installation SET revision=(installation.revision + ?)

UPDATE installation SET uuid=?

UPDATE job_event SET job_id=(job_event.job_id + ?) WHERE job_event.job_id IN (SELECT processing_job.id FROM processing_job WHERE processing_job.id <= ? AND processing_job.status IN (?, ?))

UPDATE plugin_config SET active=? WHERE plugin_config.plugin_name = ?

UPDATE plugin_config SET plugin_name=?, tags=?, settings=?, timeout_s=?, memory_mb=?, cpu_s=?, max_rejects=?, active=?, grants=? WHERE plugin_config.plugin_name = ?

UPDATE plugin_manifest SET code=? WHERE plugin_manifest.plugin_name = ? AND plugin_manifest.content_hash = ?

UPDATE plugin_manifest SET environment=? WHERE plugin_manifest.plugin_name = ? AND plugin_manifest.content_hash = ? AND (plugin_manifest.environment IS NULL OR plugin_manifest.environment != ?)

UPDATE plugin_manifest SET live=? WHERE plugin_manifest.plugin_name = ? AND plugin_manifest.live = 1

UPDATE plugin_manifest SET origin=?, version=?, live=? WHERE plugin_manifest.plugin_name = ? AND plugin_manifest.content_hash = ?

UPDATE plugin_manifest SET quarantined_at_us=?, quarantine_reason=? WHERE plugin_manifest.plugin_name = ? AND plugin_manifest.content_hash = ?

UPDATE plugin_manifest SET quarantined_at_us=?, quarantine_reason=? WHERE plugin_manifest.plugin_name = ? AND plugin_manifest.content_hash = ? AND plugin_manifest.quarantined_at_us IS NULL

UPDATE processing_job SET due=CASE WHEN (processing_job.priority <= ?) THEN ? + processing_job.enqueued_at_us ELSE -processing_job.priority END WHERE (processing_job.status NOT IN (?, ?))

UPDATE processing_job SET due=CASE WHEN (processing_job.priority <= ?) THEN ? + processing_job.enqueued_at_us ELSE processing_job.enqueued_at_us - processing_job.priority * ? END WHERE (processing_job.status NOT IN (?, ?))

UPDATE processing_job SET lease_until_us=? WHERE processing_job.id = ? AND processing_job.token = ?

UPDATE processing_job SET status=? WHERE processing_job.id = ? AND processing_job.status = ?

UPDATE processing_job SET status=?, finished_at_us=? WHERE processing_job.id = ? AND processing_job.status = ?

UPDATE processing_job SET status=?, plugin_hash=?, tries=?, crashes=?, token=?, lease_until_us=?, not_before_us=?, finished_at_us=?, error_class=?, error_message=?, sandbox=?, environment=? WHERE processing_job.id = ? AND processing_job.status = ? AND processing_job.attempt = ?

UPDATE processing_job SET status=?, plugin_hash=coalesce(?, processing_job.plugin_hash), decided_at_us=?, rejects=?, manifest=?, sandbox=?, environment=? WHERE processing_job.id = ? AND processing_job.status = ? AND processing_job.attempt = ? AND processing_job.token = ?

UPDATE processing_job SET status=?, token=?, lease_until_us=? WHERE processing_job.token IS NOT NULL AND processing_job.status = ? AND processing_job.kind != ?

UPDATE processing_job SET status=?, token=?, lease_until_us=?, finished_at_us=? WHERE processing_job.id = ? AND processing_job.status = ?

UPDATE processing_job SET status=?, token=?, lease_until_us=?, finished_at_us=? WHERE processing_job.token IS NOT NULL AND processing_job.status = ?

UPDATE processing_job SET status=?, token=?, lease_until_us=?, finished_at_us=?, error_message=? WHERE processing_job.id = ? AND processing_job.status = ?

UPDATE processing_job SET status=?, token=?, lease_until_us=?, finished_at_us=?, rows=?, error_class=?, error_message=? WHERE processing_job.id = ? AND processing_job.status = ? AND processing_job.token = ?

UPDATE processing_job SET status=?, tries=?, crashes=?, not_before_us=?, finished_at_us=?, error_class=?, error_message=? WHERE processing_job.id = ? AND processing_job.status = ?

UPDATE processing_job SET status=?, tries=?, crashes=?, token=LOWER(REPLACE(CAST(NEWID() AS VARCHAR(36)), '-', '')), lease_until_us=?, finished_at_us=?, error_class=?, error_message=? WHERE processing_job.id = ? AND processing_job.status = ?

UPDATE pruning SET jobs=(pruning.jobs + ?), events=(pruning.events + ?) WHERE pruning.id = ?

UPDATE publish_slot SET holder=? FROM publish_slot, processing_job WHERE publish_slot.plugin_name = processing_job.plugin_name AND publish_slot.location_id = processing_job.location_id AND publish_slot.holder = processing_job.id AND processing_job.id IN (?)

UPDATE publish_slot SET holder=? WHERE publish_slot.holder = ?

UPDATE publish_slot SET holder=? WHERE publish_slot.plugin_name = ? AND publish_slot.location_id = ? AND publish_slot.holder IS NULL

UPDATE publish_slot SET ordinal=?, enqueue=?, holder=? WHERE publish_slot.plugin_name = ? AND publish_slot.location_id = ? AND publish_slot.holder IS NULL

UPDATE routing_rule SET active=? WHERE routing_rule.id = ?

UPDATE routing_rule SET pattern=?, tag=?, priority=?, position=?, active=? WHERE routing_rule.id = ?

UPDATE scout_lease SET fence=?, holder=?, hostname=?, host_key=?, pid=?, pid_started=?, lasting=?, until_us=? WHERE scout_lease.source_root_id = ?

UPDATE scout_lease SET holder=? WHERE scout_lease.holder = ?

UPDATE scout_lease SET until_us=? WHERE scout_lease.holder = ?

UPDATE source_root SET active=? WHERE source_root.path = ?

UPDATE source_root SET disturbances=(source_root.disturbances + ?) WHERE source_root.id = ?

UPDATE source_root SET disturbances=(source_root.disturbances + ?) WHERE source_root.id IN (SELECT file_location.source_root_id FROM file_location WHERE file_location.id = ?)

UPDATE source_root SET path=?, active=? WHERE source_root.path = ?

UPDATE target_bundle SET installed=? WHERE target_bundle.bundle_key = ? AND target_bundle.installed < ?

UPDATE target_bundle SET revision=? WHERE target_bundle.bundle_key = ? AND target_bundle.revision = ? AND target_bundle.installed = ?

UPDATE target_schema SET schema_json=? WHERE target_schema.target_key = ? AND target_schema.schema_json = ?

UPDATE topic_config SET active=? WHERE topic_config.id = ?

UPDATE topic_config SET plugin_name=?, topic=?, sink=?, mode=?, position=?, active=?, duplicates=? WHERE topic_config.id = ?

UPDATE worker_node SET hostname=?, pid=?, id=?, host_key=?, pid_started=?, roles=?, endpoint=?, versions=?, git_hash=?, user_name=?, started_at_us=?, heartbeat_at_us=?, [load]=?, stopped=? WHERE worker_node.id = ? AND (SELECT max(alembic_version.version_num) AS max_1 FROM alembic_version) = ?
