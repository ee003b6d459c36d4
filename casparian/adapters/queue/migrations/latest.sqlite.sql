-- Made by `python -m casparian.adapters.queue.migrations`. A blank line ends a statement.

CREATE TABLE adopted_slot (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	adoption_id INTEGER NOT NULL, 
	plugin_name VARCHAR(100) NOT NULL, 
	topic VARCHAR(150) NOT NULL, 
	location_id INTEGER NOT NULL, 
	version_id BIGINT NOT NULL, 
	mode VARCHAR(10) NOT NULL, 
	scheme VARCHAR(50) NOT NULL, 
	location BLOB NOT NULL, 
	name TEXT NOT NULL, 
	former_uuid VARCHAR(32) NOT NULL, 
	former_job_id BIGINT NOT NULL, 
	former_location_id BIGINT NOT NULL, 
	former_version_id BIGINT NOT NULL, 
	former_ordinal BIGINT NOT NULL, 
	content_hash VARCHAR(64), 
	rows BIGINT NOT NULL, 
	CONSTRAINT fk_adopted_slot_adoption_id_adoption FOREIGN KEY(adoption_id) REFERENCES adoption (id), 
	CONSTRAINT fk_adopted_slot_location_id_file_location FOREIGN KEY(location_id) REFERENCES file_location (id)
);

CREATE TABLE adopted_version (
	location_id INTEGER NOT NULL, 
	version_id BIGINT NOT NULL, 
	content_hash VARCHAR(64), 
	CONSTRAINT pk_adopted_version PRIMARY KEY (location_id), 
	CONSTRAINT fk_adopted_version_location_id_file_location FOREIGN KEY(location_id) REFERENCES file_location (id)
);

CREATE TABLE adoption (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	at_us BIGINT NOT NULL, 
	actor VARCHAR(200) NOT NULL, 
	former_uuid VARCHAR(32) NOT NULL, 
	uuid VARCHAR(32) NOT NULL
);

CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);

INSERT INTO "alembic_version" VALUES('0012');

CREATE TABLE content_copy (
	job_id BIGINT NOT NULL, 
	plugin_name VARCHAR(100) NOT NULL, 
	content_hash VARCHAR(64) NOT NULL, 
	CONSTRAINT pk_content_copy PRIMARY KEY (job_id)
);

CREATE TABLE content_doer (
	plugin_name VARCHAR(100) NOT NULL, 
	content_hash VARCHAR(64) NOT NULL, 
	job_id BIGINT NOT NULL, 
	location_id BIGINT NOT NULL, 
	CONSTRAINT pk_content_doer PRIMARY KEY (plugin_name, content_hash)
);

CREATE TABLE deploy_nonce (
	nonce VARCHAR(32) NOT NULL, 
	used_at_us BIGINT NOT NULL, 
	CONSTRAINT pk_deploy_nonce PRIMARY KEY (nonce)
);

CREATE TABLE deploy_refusal (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	at_us BIGINT NOT NULL, 
	failed_check VARCHAR(20) NOT NULL, 
	message TEXT NOT NULL, 
	plugin_name VARCHAR(100) NOT NULL, 
	version BIGINT NOT NULL, 
	key_id VARCHAR(100) NOT NULL
);

CREATE TABLE file_departure (
	file_version_id INTEGER NOT NULL, 
	location_id INTEGER NOT NULL, 
	action VARCHAR(10) NOT NULL, 
	place BLOB NOT NULL, 
	size BIGINT NOT NULL, 
	mtime_ns BIGINT NOT NULL, 
	ctime_ns BIGINT NOT NULL, 
	inode BIGINT NOT NULL, 
	device BIGINT NOT NULL, 
	planned_at_us BIGINT NOT NULL, 
	ended_at_us BIGINT, 
	outcome VARCHAR(10), 
	message TEXT, 
	CONSTRAINT pk_file_departure PRIMARY KEY (file_version_id), 
	CONSTRAINT fk_file_departure_file_version_id_file_version FOREIGN KEY(file_version_id) REFERENCES file_version (id), 
	CONSTRAINT fk_file_departure_location_id_file_location FOREIGN KEY(location_id) REFERENCES file_location (id)
);

CREATE TABLE file_hash_registry (
	content_hash VARCHAR(64) NOT NULL, 
	size BIGINT NOT NULL, 
	first_seen_us BIGINT NOT NULL, 
	CONSTRAINT pk_file_hash_registry PRIMARY KEY (content_hash)
);

CREATE TABLE file_location (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	source_root_id INTEGER NOT NULL, 
	path BLOB NOT NULL, 
	size BIGINT, 
	mtime_ns BIGINT, 
	ctime_ns BIGINT, 
	inode BIGINT, 
	device BIGINT, 
	content_hash VARCHAR(64), 
	current_version_id BIGINT, 
	versions BIGINT DEFAULT 0 NOT NULL, 
	hashed_at_us BIGINT DEFAULT 0 NOT NULL, 
	missed_scans INTEGER DEFAULT 0 NOT NULL, 
	deleted BOOLEAN NOT NULL, 
	CONSTRAINT fk_file_location_source_root_id_source_root FOREIGN KEY(source_root_id) REFERENCES source_root (id), 
	CONSTRAINT uq_file_location_source_root_id_path UNIQUE (source_root_id, path)
);

CREATE TABLE file_tag (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	file_version_id INTEGER NOT NULL, 
	tag VARCHAR(200) NOT NULL, 
	rule_id INTEGER, 
	CONSTRAINT fk_file_tag_file_version_id_file_version FOREIGN KEY(file_version_id) REFERENCES file_version (id), 
	CONSTRAINT fk_file_tag_rule_id_routing_rule FOREIGN KEY(rule_id) REFERENCES routing_rule (id), 
	CONSTRAINT uq_file_tag_file_version_id_tag UNIQUE (file_version_id, tag)
);

CREATE TABLE file_version (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	location_id INTEGER NOT NULL, 
	ordinal BIGINT NOT NULL, 
	content_hash VARCHAR(64) NOT NULL, 
	size BIGINT NOT NULL, 
	mtime_ns BIGINT NOT NULL, 
	ctime_ns BIGINT NOT NULL, 
	inode BIGINT NOT NULL, 
	device BIGINT NOT NULL, 
	seen_at_us BIGINT NOT NULL, 
	CONSTRAINT fk_file_version_content_hash_file_hash_registry FOREIGN KEY(content_hash) REFERENCES file_hash_registry (content_hash), 
	CONSTRAINT fk_file_version_location_id_file_location FOREIGN KEY(location_id) REFERENCES file_location (id), 
	CONSTRAINT uq_file_version_location_id_ordinal UNIQUE (location_id, ordinal)
);

CREATE TABLE installation (
	id INTEGER NOT NULL, 
	uuid VARCHAR(32) NOT NULL, 
	ageing_us BIGINT NOT NULL, 
	revision BIGINT NOT NULL, 
	created_at_us BIGINT NOT NULL, 
	CONSTRAINT pk_installation PRIMARY KEY (id)
);

CREATE TABLE job_event (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	job_id INTEGER NOT NULL, 
	attempt BIGINT NOT NULL, 
	at_us BIGINT NOT NULL, 
	event VARCHAR(20) NOT NULL, 
	worker VARCHAR(200), 
	error_class VARCHAR(20), 
	message TEXT, 
	detail TEXT, 
	actor VARCHAR(200), 
	CONSTRAINT fk_job_event_job_id_processing_job FOREIGN KEY(job_id) REFERENCES processing_job (id)
);

CREATE TABLE plugin_config (
	plugin_name VARCHAR(100) NOT NULL, 
	tags TEXT NOT NULL, 
	settings TEXT NOT NULL, 
	timeout_s FLOAT NOT NULL, 
	memory_mb BIGINT NOT NULL, 
	cpu_s BIGINT NOT NULL, 
	max_rejects VARCHAR(40) NOT NULL, 
	active BOOLEAN NOT NULL, grants TEXT DEFAULT '{}' NOT NULL, 
	CONSTRAINT pk_plugin_config PRIMARY KEY (plugin_name)
);

CREATE TABLE plugin_deployment (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	plugin_name VARCHAR(100) NOT NULL, 
	version BIGINT NOT NULL, 
	content_hash VARCHAR(64) NOT NULL, 
	origin VARCHAR(10) NOT NULL, 
	verdict VARCHAR(10) NOT NULL, 
	message TEXT NOT NULL, 
	at_us BIGINT NOT NULL, 
	actor VARCHAR(200) NOT NULL, 
	key_id VARCHAR(64), 
	scheme VARCHAR(20), 
	body BLOB, 
	signature BLOB, 
	CONSTRAINT uq_plugin_deployment_plugin_name_version UNIQUE (plugin_name, version)
);

CREATE TABLE plugin_environment (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	digest VARCHAR(64) NOT NULL, 
	directory VARCHAR(32) NOT NULL, 
	python VARCHAR(100) NOT NULL, 
	packages TEXT NOT NULL, 
	noted_at_us BIGINT NOT NULL, 
	CONSTRAINT uq_plugin_environment_digest UNIQUE (digest)
);

CREATE TABLE plugin_manifest (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	plugin_name VARCHAR(100) NOT NULL, 
	content_hash VARCHAR(64) NOT NULL, 
	code BLOB NOT NULL, 
	origin VARCHAR(200) NOT NULL, 
	version BIGINT NOT NULL, 
	created_at_us BIGINT NOT NULL, 
	live BOOLEAN NOT NULL, 
	quarantined_at_us BIGINT, 
	quarantine_reason TEXT, environment VARCHAR(64), 
	CONSTRAINT uq_plugin_manifest_plugin_name_content_hash UNIQUE (plugin_name, content_hash)
);

CREATE TABLE processing_job (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	status VARCHAR(10) NOT NULL, 
	plugin_name VARCHAR(100) NOT NULL, 
	plugin_hash VARCHAR(64), 
	file_version_id INTEGER NOT NULL, 
	location_id BIGINT NOT NULL, 
	ordinal BIGINT NOT NULL, 
	priority BIGINT NOT NULL, 
	due BIGINT NOT NULL, 
	attempt BIGINT DEFAULT 0 NOT NULL, 
	tries BIGINT DEFAULT 0 NOT NULL, 
	crashes BIGINT DEFAULT 0 NOT NULL, 
	token VARCHAR(32), 
	worker VARCHAR(200), 
	lease_until_us BIGINT DEFAULT 0 NOT NULL, 
	not_before_us BIGINT NOT NULL, 
	enqueued_at_us BIGINT NOT NULL, 
	started_at_us BIGINT, 
	decided_at_us BIGINT, 
	finished_at_us BIGINT, 
	rows BIGINT DEFAULT 0 NOT NULL, 
	rejects BIGINT DEFAULT 0 NOT NULL, 
	error_class VARCHAR(20), 
	error_message TEXT, 
	manifest TEXT, kind VARCHAR(10) DEFAULT 'RUN' NOT NULL, sandbox VARCHAR(200), environment VARCHAR(64), 
	CONSTRAINT fk_processing_job_file_version_id_file_version FOREIGN KEY(file_version_id) REFERENCES file_version (id)
);

CREATE TABLE pruning (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	at_us BIGINT NOT NULL, 
	actor VARCHAR(200) NOT NULL, 
	before_us BIGINT NOT NULL, 
	jobs BIGINT NOT NULL, 
	events BIGINT NOT NULL
);

CREATE TABLE publish_slot (
	plugin_name VARCHAR(100) NOT NULL, 
	location_id BIGINT NOT NULL, 
	ordinal BIGINT, 
	enqueue BIGINT, 
	holder BIGINT, 
	CONSTRAINT pk_publish_slot PRIMARY KEY (plugin_name, location_id)
);

CREATE TABLE published_slot (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	plugin_name VARCHAR(100) NOT NULL, 
	location_id BIGINT NOT NULL, 
	topic VARCHAR(150) NOT NULL, 
	version_id BIGINT NOT NULL, 
	mode VARCHAR(10) NOT NULL, 
	scheme VARCHAR(50) NOT NULL, 
	location BLOB NOT NULL, 
	name TEXT NOT NULL
, bundle VARCHAR(150) DEFAULT '' NOT NULL);

CREATE TABLE routing_rule (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	pattern VARCHAR(500) NOT NULL, 
	tag VARCHAR(200) NOT NULL, 
	priority BIGINT NOT NULL, 
	position BIGINT NOT NULL, 
	active BOOLEAN NOT NULL, 
	CONSTRAINT uq_routing_rule_pattern_tag_priority UNIQUE (pattern, tag, priority)
);

CREATE TABLE scout_lease (
	source_root_id INTEGER NOT NULL, 
	fence BIGINT NOT NULL, 
	holder VARCHAR(200), 
	hostname VARCHAR(255) NOT NULL, 
	host_key VARCHAR(300) NOT NULL, 
	pid BIGINT NOT NULL, 
	pid_started BIGINT NOT NULL, 
	lasting BOOLEAN NOT NULL, 
	until_us BIGINT NOT NULL, 
	CONSTRAINT pk_scout_lease PRIMARY KEY (source_root_id), 
	CONSTRAINT fk_scout_lease_source_root_id_source_root FOREIGN KEY(source_root_id) REFERENCES source_root (id)
);

CREATE TABLE source_root (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	path BLOB NOT NULL, 
	active BOOLEAN NOT NULL, disturbances BIGINT DEFAULT '0' NOT NULL, 
	CONSTRAINT uq_source_root_path UNIQUE (path)
);

CREATE TABLE target_bundle (
	bundle_key VARCHAR(64) NOT NULL, 
	scheme VARCHAR(50) NOT NULL, 
	location BLOB NOT NULL, 
	name TEXT NOT NULL, 
	bundle VARCHAR(150) NOT NULL, 
	revision BIGINT NOT NULL, 
	installed BIGINT NOT NULL, 
	CONSTRAINT pk_target_bundle PRIMARY KEY (bundle_key)
);

CREATE TABLE target_schema (
	target_key VARCHAR(64) NOT NULL, 
	scheme VARCHAR(50) NOT NULL, 
	location BLOB NOT NULL, 
	name TEXT NOT NULL, 
	schema_json TEXT NOT NULL, 
	CONSTRAINT pk_target_schema PRIMARY KEY (target_key)
);

CREATE TABLE topic_config (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	plugin_name VARCHAR(100) NOT NULL, 
	topic VARCHAR(150) NOT NULL, 
	sink BLOB NOT NULL, 
	mode VARCHAR(10) NOT NULL, 
	position BIGINT NOT NULL, 
	active BOOLEAN NOT NULL, duplicates VARCHAR(10) DEFAULT 'process' NOT NULL, 
	CONSTRAINT fk_topic_config_plugin_name_plugin_config FOREIGN KEY(plugin_name) REFERENCES plugin_config (plugin_name), 
	CONSTRAINT uq_topic_config_plugin_name_topic UNIQUE (plugin_name, topic)
);

CREATE TABLE worker_node (
	hostname VARCHAR(255) NOT NULL, 
	pid BIGINT NOT NULL, 
	id VARCHAR(200) NOT NULL, 
	host_key VARCHAR(300) NOT NULL, 
	pid_started BIGINT NOT NULL, 
	roles TEXT NOT NULL, 
	endpoint TEXT NOT NULL, 
	versions TEXT NOT NULL, 
	git_hash VARCHAR(64) NOT NULL, 
	user_name VARCHAR(200) NOT NULL, 
	started_at_us BIGINT NOT NULL, 
	heartbeat_at_us BIGINT NOT NULL, 
	load TEXT NOT NULL, 
	stopped BOOLEAN NOT NULL, 
	CONSTRAINT pk_worker_node PRIMARY KEY (hostname, pid), 
	CONSTRAINT uq_worker_node_id UNIQUE (id)
);

CREATE INDEX ix_plugin_manifest_content_hash ON plugin_manifest (content_hash);

CREATE INDEX ix_published_slot_owner ON published_slot (plugin_name, location_id);

CREATE INDEX ix_processing_job_claim ON processing_job (due, id, plugin_name, not_before_us, status) WHERE status = 'QUEUED';

CREATE INDEX ix_processing_job_held ON processing_job (lease_until_us) WHERE token IS NOT NULL;

CREATE INDEX ix_processing_job_ended ON processing_job (status, finished_at_us, plugin_name) WHERE finished_at_us IS NOT NULL;

CREATE INDEX ix_processing_job_version ON processing_job (file_version_id, plugin_name);

CREATE INDEX ix_job_event_job_id ON job_event (job_id);

CREATE INDEX ix_adopted_slot_location_id ON adopted_slot (location_id);

CREATE INDEX ix_adopted_slot_former_job_id ON adopted_slot (former_job_id);

CREATE INDEX ix_file_departure_location_id ON file_departure (location_id);

CREATE INDEX ix_content_doer_file ON content_doer (plugin_name, location_id);

CREATE INDEX ix_content_copy_content ON content_copy (plugin_name, content_hash);

CREATE INDEX ix_deploy_nonce_used_at_us ON deploy_nonce (used_at_us);

INSERT INTO "sqlite_sequence" VALUES('plugin_deployment',0);
