UPDATE q SET status=:status, plugin_hash=CASE q.plugin_name WHEN :plugin0 THEN :hash0 END, attempt=(q.attempt + :attempt_1), token=LOWER(REPLACE(CAST(NEWID() AS VARCHAR(36)), '-', '')), worker=:worker, lease_until_us=:until, started_at_us=:now OUTPUT inserted.id, inserted.plugin_name, inserted.plugin_hash, inserted.attempt, inserted.token, inserted.file_version_id, inserted.location_id, inserted.ordinal, inserted.priority, inserted.enqueued_at_us, inserted.kind, inserted.due FROM [q].[processing_job] AS q WITH (ROWLOCK, UPDLOCK, READPAST, READCOMMITTEDLOCK) WHERE q.status = 'QUEUED' AND q.id IN (SELECT TOP (:limit) id FROM [q].[processing_job] WITH (ROWLOCK, UPDLOCK, READPAST, READCOMMITTEDLOCK) WHERE status = 'QUEUED' AND plugin_name IN (:plugin0) AND (not_before_us <= :now OR not_before_us > :now + :param_2) ORDER BY due, id)

UPDATE q SET status=:status, plugin_hash=CASE q.plugin_name WHEN :plugin0 THEN :hash0 WHEN :plugin1 THEN :hash1 WHEN :plugin2 THEN :hash2 END, attempt=(q.attempt + :attempt_1), token=LOWER(REPLACE(CAST(NEWID() AS VARCHAR(36)), '-', '')), worker=:worker, lease_until_us=:until, started_at_us=:now OUTPUT inserted.id, inserted.plugin_name, inserted.plugin_hash, inserted.attempt, inserted.token, inserted.file_version_id, inserted.location_id, inserted.ordinal, inserted.priority, inserted.enqueued_at_us, inserted.kind, inserted.due FROM [q].[processing_job] AS q WITH (ROWLOCK, UPDLOCK, READPAST, READCOMMITTEDLOCK) WHERE q.status = 'QUEUED' AND q.id IN (SELECT TOP (:limit) id FROM [q].[processing_job] WITH (ROWLOCK, UPDLOCK, READPAST, READCOMMITTEDLOCK) WHERE status = 'QUEUED' AND plugin_name IN (:plugin0, :plugin1, :plugin2) AND (not_before_us <= :now OR not_before_us > :now + :param_2) ORDER BY due, id)

UPDATE q SET token=LOWER(REPLACE(CAST(NEWID() AS VARCHAR(36)), '-', '')), worker=?, lease_until_us=? OUTPUT inserted.id, inserted.token, inserted.attempt, inserted.manifest FROM [q].[processing_job] AS q WITH (ROWLOCK, UPDLOCK, READPAST, READCOMMITTEDLOCK) WHERE q.token IS NOT NULL AND q.status = ? AND q.lease_until_us >= ? AND (q.lease_until_us <= ? OR q.worker IN (?, ?)) AND q.id IN (SELECT TOP (?) id FROM [q].[processing_job] WITH (ROWLOCK, UPDLOCK, READPAST, READCOMMITTEDLOCK) WHERE token IS NOT NULL AND status = ? AND lease_until_us >= ? AND (lease_until_us <= ? OR worker IN (?, ?)) ORDER BY lease_until_us, id)

INSERT INTO file_hash_registry (content_hash, size, first_seen_us) SELECT given.content_hash, given.size, given.first_seen_us FROM (VALUES (?, ?, ?)) AS given (content_hash, size, first_seen_us) WHERE NOT (EXISTS (SELECT * FROM file_hash_registry WHERE file_hash_registry.content_hash = (given.content_hash COLLATE Latin1_General_BIN2)))

UPDATE installation SET revision=installation.revision

SET TRANSACTION ISOLATION LEVEL READ COMMITTED

SET TRANSACTION ISOLATION LEVEL SNAPSHOT

SET IDENTITY_INSERT [q].[file_location] ON

SET IDENTITY_INSERT [q].[file_location] OFF

SELECT CAST(IDENT_CURRENT('[q].[file_location]') AS BIGINT), MAX(id) FROM [q].[file_location]

DBCC CHECKIDENT ('[q].[file_location]', RESEED, 8)

SELECT SYSUTCDATETIME()

SELECT (SELECT MAX(id) FROM [q].[processing_job]), (SELECT MAX(id) FROM [q].[job_event]), revision FROM [q].[installation]
