SET NOCOUNT OFF
SET XACT_ABORT ON
SET TRANSACTION ISOLATION LEVEL READ COMMITTED
SET LOCK_TIMEOUT 30000
CREATE SCHEMA [sales]
CREATE TABLE [sales].[_casparian_publish] ([target] nvarchar(128) COLLATE Latin1_General_BIN2 NOT NULL, [plugin] nvarchar(128) COLLATE Latin1_General_BIN2 NOT NULL, [topic] nvarchar(128) COLLATE Latin1_General_BIN2 NOT NULL, [location_id] bigint NOT NULL, [version_id] bigint NOT NULL, [installation] nvarchar(64) COLLATE Latin1_General_BIN2 NOT NULL, [job_id] bigint NOT NULL, [ordinal] bigint NOT NULL, [rows] bigint NOT NULL, [digest] nvarchar(64) COLLATE Latin1_General_BIN2 NOT NULL, [marker] nvarchar(max) NOT NULL, PRIMARY KEY ([target], [plugin], [topic], [location_id], [version_id]))
CREATE TABLE [sales].[_casparian_columns] ([target] nvarchar(128) COLLATE Latin1_General_BIN2 NOT NULL, [position] int NOT NULL, [name] nvarchar(128) COLLATE Latin1_General_BIN2 NOT NULL, [arrow_type] nvarchar(max) NOT NULL, [nullable] bit NOT NULL, [definition] nvarchar(max) NOT NULL, PRIMARY KEY ([target], [name]))
CREATE TABLE [sales].[_casparian_staging] ([id] bigint IDENTITY(1,1) NOT NULL, [installation] nvarchar(64) COLLATE Latin1_General_BIN2 NOT NULL, [job_id] bigint NOT NULL, [attempt] int NOT NULL, [token] nvarchar(64) COLLATE Latin1_General_BIN2 NOT NULL, [target] nvarchar(128) COLLATE Latin1_General_BIN2 NOT NULL, [rows] bigint NOT NULL, [size] bigint NOT NULL, [held] int NOT NULL, [body] varbinary(max), PRIMARY KEY ([job_id], [attempt], [id]))
CREATE TABLE [sales].[_casparian_owner] ([target] nvarchar(128) COLLATE Latin1_General_BIN2 NOT NULL PRIMARY KEY, [installation] nvarchar(64) COLLATE Latin1_General_BIN2 NOT NULL)
CREATE TABLE [sales].[_casparian_lock] ([id] int NOT NULL PRIMARY KEY, [taken] bigint NOT NULL)
INSERT INTO [sales].[_casparian_lock] ([id], [taken]) VALUES (1, 0)
SELECT [TABLE_TYPE] FROM INFORMATION_SCHEMA.TABLES WHERE [TABLE_SCHEMA] = ? AND [TABLE_NAME] = ?
UPDATE [sales].[_casparian_lock] SET [taken] = [taken] + 1 WHERE [id] = 1
UPDATE [sales].[_casparian_publish] SET [installation] = ?, [job_id] = ?, [ordinal] = ?, [rows] = ?, [digest] = ?, [marker] = ? OUTPUT deleted.[job_id] WHERE [target] = ? AND [plugin] = ? AND [topic] = ? AND [location_id] = ? AND [version_id] = ? AND [installation] = ? AND ([ordinal] < ? OR ([ordinal] = ? AND [job_id] < ?))
INSERT INTO [sales].[_casparian_publish] ([target], [plugin], [topic], [location_id], [version_id], [installation], [job_id], [ordinal], [rows], [digest], [marker]) SELECT ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ? WHERE NOT EXISTS (SELECT 1 FROM [sales].[_casparian_publish] WHERE [target] = ? AND [plugin] = ? AND [topic] = ? AND [location_id] = ? AND [version_id] = ?)
SELECT [marker] FROM [sales].[_casparian_publish] WHERE [target] = ? AND [plugin] = ? AND [topic] = ? AND [location_id] = ? AND [version_id] = ?
DELETE FROM [sales].[_casparian_publish] WHERE [target] = ? AND [plugin] = ? AND [topic] = ? AND [location_id] = ? AND [version_id] = ?
SELECT [target], [marker] FROM [sales].[_casparian_publish] ORDER BY [target], [job_id]
SELECT [installation] FROM [sales].[_casparian_owner] WHERE [target] = ?
DELETE FROM [sales].[_casparian_owner] WHERE [target] = ?
INSERT INTO [sales].[_casparian_owner] ([target], [installation]) VALUES (?, ?)
SELECT DISTINCT [installation] FROM [sales].[_casparian_publish] WHERE [target] = ?
INSERT INTO [sales].[_casparian_staging] ([installation], [job_id], [attempt], [token], [target], [rows], [size], [held], [body]) VALUES (?, ?, ?, ?, ?, ?, ?, 0, ?)
DELETE FROM [sales].[_casparian_staging] WHERE [installation] = ? AND [job_id] = ? AND [attempt] = ? AND [token] = ?
DELETE FROM [sales].[_casparian_staging] WHERE [installation] = ? AND [job_id] = ? AND [attempt] = ? AND [token] = ? AND [target] = ?
UPDATE [sales].[_casparian_staging] SET [held] = [held] + 1 WHERE [installation] = ? AND [job_id] = ? AND [attempt] = ? AND [token] = ?
SELECT [id], [target], [rows], [size] FROM [sales].[_casparian_staging] WHERE [installation] = ? AND [job_id] = ? AND [attempt] = ? AND [token] = ? ORDER BY [id]
SELECT [body] FROM [sales].[_casparian_staging] WHERE [job_id] = ? AND [attempt] = ? AND [id] = ?
UPDATE [sales].[_casparian_staging] SET [token] = ? WHERE [installation] = ? AND [job_id] = ? AND [attempt] = ? AND [token] <> ?
SELECT DISTINCT [installation], [job_id], [attempt], [token] FROM [sales].[_casparian_staging]
SELECT [name], [arrow_type], [nullable], [definition] FROM [sales].[_casparian_columns] WHERE [target] = ? ORDER BY [position]
DELETE FROM [sales].[_casparian_columns] WHERE [target] = ?
INSERT INTO [sales].[_casparian_columns] ([target], [position], [name], [arrow_type], [nullable], [definition]) VALUES (?, ?, ?, ?, ?, ?)
CREATE TABLE [sales].[or]]ders] ([id] bigint, [odd ]] name] nvarchar(max), [_casparian_job_id] bigint NOT NULL, [_casparian_file_version_id] bigint NOT NULL, [_casparian_row] bigint NOT NULL)
CREATE CLUSTERED INDEX [_casparian_job] ON [sales].[or]]ders] ([_casparian_job_id])
ALTER TABLE [sales].[or]]ders] ADD [new] date
ALTER TABLE [sales].[or]]ders] ALTER COLUMN [id] decimal(20,0)
ALTER TABLE [sales].[or]]ders] DROP COLUMN [odd ]] name]
CREATE TABLE #casparian_rows_0 ([id] bigint, [odd ]] name] nvarchar(max), [_casparian_job_id] bigint NOT NULL, [_casparian_file_version_id] bigint NOT NULL, [_casparian_row] bigint NOT NULL)
INSERT INTO #casparian_rows_0 ([id], [odd ]] name], [_casparian_job_id], [_casparian_file_version_id], [_casparian_row]) VALUES (CAST(? AS datetime2(6)), ?, ?, ?, ?)
DELETE FROM [sales].[or]]ders] WITH (TABLOCKX) WHERE [_casparian_job_id] = ?
INSERT INTO [sales].[or]]ders] ([id], [odd ]] name], [_casparian_job_id], [_casparian_file_version_id], [_casparian_row]) SELECT [id], [odd ]] name], [_casparian_job_id], [_casparian_file_version_id], [_casparian_row] FROM #casparian_rows_0 WHERE [_casparian_job_id] = ?
DROP TABLE #casparian_rows_0
SELECT DISTINCT [target] FROM [sales].[_casparian_columns]
SELECT [marker] FROM [sales].[_casparian_publish] WHERE [target] = ? ORDER BY [job_id]
SELECT [_casparian_job_id], COUNT_BIG(*), COUNT_BIG(DISTINCT [_casparian_row]), MAX([_casparian_row]) FROM [sales].[or]]ders] GROUP BY [_casparian_job_id] ORDER BY [_casparian_job_id]
SELECT DISTINCT [_casparian_job_id], [_casparian_file_version_id] FROM [sales].[or]]ders] ORDER BY [_casparian_job_id], [_casparian_file_version_id]
SELECT [_casparian_row] FROM [sales].[or]]ders] WHERE [_casparian_job_id] = ? ORDER BY [_casparian_row]
SELECT MIN([_casparian_row]) FROM [sales].[or]]ders] WHERE [_casparian_job_id] = ? AND [_casparian_row] >= ?
SELECT [id], [odd ]] name], CAST([paid] AS varchar(60)), CONVERT(varchar(40), [at], 121) FROM [sales].[or]]ders] WHERE [_casparian_job_id] = ? AND [_casparian_row] >= ? AND [_casparian_row] < ? ORDER BY [_casparian_row]
