CREATE TABLE file_hash_registry (
    content_hash NVARCHAR(64) COLLATE Latin1_General_BIN2 NOT NULL, 
    size BIGINT NOT NULL, 
    first_seen_us BIGINT NOT NULL, 
    CONSTRAINT pk_file_hash_registry PRIMARY KEY (content_hash)
)

CREATE TABLE installation (
    id INTEGER NOT NULL, 
    uuid NVARCHAR(32) COLLATE Latin1_General_BIN2 NOT NULL, 
    ageing_us BIGINT NOT NULL, 
    revision BIGINT NOT NULL, 
    created_at_us BIGINT NOT NULL, 
    CONSTRAINT pk_installation PRIMARY KEY (id)
)

CREATE TABLE plugin_config (
    plugin_name NVARCHAR(100) COLLATE Latin1_General_BIN2 NOT NULL, 
    tags NVARCHAR(max) COLLATE Latin1_General_BIN2 NOT NULL, 
    settings NVARCHAR(max) COLLATE Latin1_General_BIN2 NOT NULL, 
    timeout_s FLOAT NOT NULL, 
    memory_mb BIGINT NOT NULL, 
    cpu_s BIGINT NOT NULL, 
    max_rejects NVARCHAR(40) COLLATE Latin1_General_BIN2 NOT NULL, 
    active BIT NOT NULL, 
    CONSTRAINT pk_plugin_config PRIMARY KEY (plugin_name)
)

CREATE TABLE plugin_manifest (
    id BIGINT NOT NULL IDENTITY, 
    plugin_name NVARCHAR(100) COLLATE Latin1_General_BIN2 NOT NULL, 
    content_hash NVARCHAR(64) COLLATE Latin1_General_BIN2 NOT NULL, 
    code VARBINARY(max) NOT NULL, 
    origin NVARCHAR(200) COLLATE Latin1_General_BIN2 NOT NULL, 
    version BIGINT NOT NULL, 
    created_at_us BIGINT NOT NULL, 
    live BIT NOT NULL, 
    quarantined_at_us BIGINT NULL, 
    quarantine_reason NVARCHAR(max) COLLATE Latin1_General_BIN2 NULL, 
    CONSTRAINT pk_plugin_manifest PRIMARY KEY (id), 
    CONSTRAINT uq_plugin_manifest_plugin_name_content_hash UNIQUE (plugin_name, content_hash)
)

CREATE INDEX ix_plugin_manifest_content_hash ON plugin_manifest (content_hash)

CREATE TABLE publish_slot (
    plugin_name NVARCHAR(100) COLLATE Latin1_General_BIN2 NOT NULL, 
    location_id BIGINT NOT NULL, 
    ordinal BIGINT NULL, 
    enqueue BIGINT NULL, 
    holder BIGINT NULL, 
    CONSTRAINT pk_publish_slot PRIMARY KEY (plugin_name, location_id)
)

CREATE TABLE published_slot (
    id BIGINT NOT NULL IDENTITY, 
    plugin_name NVARCHAR(100) COLLATE Latin1_General_BIN2 NOT NULL, 
    location_id BIGINT NOT NULL, 
    topic NVARCHAR(150) COLLATE Latin1_General_BIN2 NOT NULL, 
    version_id BIGINT NOT NULL, 
    mode NVARCHAR(10) COLLATE Latin1_General_BIN2 NOT NULL, 
    scheme NVARCHAR(50) COLLATE Latin1_General_BIN2 NOT NULL, 
    location VARBINARY(max) NOT NULL, 
    name NVARCHAR(max) COLLATE Latin1_General_BIN2 NOT NULL, 
    CONSTRAINT pk_published_slot PRIMARY KEY (id)
)

CREATE INDEX ix_published_slot_owner ON published_slot (plugin_name, location_id)

CREATE TABLE routing_rule (
    id BIGINT NOT NULL IDENTITY, 
    pattern NVARCHAR(500) COLLATE Latin1_General_BIN2 NOT NULL, 
    tag NVARCHAR(200) COLLATE Latin1_General_BIN2 NOT NULL, 
    priority BIGINT NOT NULL, 
    position BIGINT NOT NULL, 
    active BIT NOT NULL, 
    CONSTRAINT pk_routing_rule PRIMARY KEY (id), 
    CONSTRAINT uq_routing_rule_pattern_tag_priority UNIQUE (pattern, tag, priority)
)

CREATE TABLE source_root (
    id BIGINT NOT NULL IDENTITY, 
    path VARBINARY(1600) NOT NULL, 
    active BIT NOT NULL, 
    CONSTRAINT pk_source_root PRIMARY KEY (id), 
    CONSTRAINT uq_source_root_path UNIQUE (path)
)

CREATE TABLE target_schema (
    target_key NVARCHAR(64) COLLATE Latin1_General_BIN2 NOT NULL, 
    scheme NVARCHAR(50) COLLATE Latin1_General_BIN2 NOT NULL, 
    location VARBINARY(max) NOT NULL, 
    name NVARCHAR(max) COLLATE Latin1_General_BIN2 NOT NULL, 
    schema_json NVARCHAR(max) COLLATE Latin1_General_BIN2 NOT NULL, 
    CONSTRAINT pk_target_schema PRIMARY KEY (target_key)
)

CREATE TABLE worker_node (
    hostname NVARCHAR(255) COLLATE Latin1_General_BIN2 NOT NULL, 
    pid BIGINT NOT NULL, 
    id NVARCHAR(200) COLLATE Latin1_General_BIN2 NOT NULL, 
    host_key NVARCHAR(300) COLLATE Latin1_General_BIN2 NOT NULL, 
    pid_started BIGINT NOT NULL, 
    roles NVARCHAR(max) COLLATE Latin1_General_BIN2 NOT NULL, 
    endpoint NVARCHAR(max) COLLATE Latin1_General_BIN2 NOT NULL, 
    versions NVARCHAR(max) COLLATE Latin1_General_BIN2 NOT NULL, 
    git_hash NVARCHAR(64) COLLATE Latin1_General_BIN2 NOT NULL, 
    user_name NVARCHAR(200) COLLATE Latin1_General_BIN2 NOT NULL, 
    started_at_us BIGINT NOT NULL, 
    heartbeat_at_us BIGINT NOT NULL, 
    [load] NVARCHAR(max) COLLATE Latin1_General_BIN2 NOT NULL, 
    stopped BIT NOT NULL, 
    CONSTRAINT pk_worker_node PRIMARY KEY (hostname, pid), 
    CONSTRAINT uq_worker_node_id UNIQUE (id)
)

CREATE TABLE file_location (
    id BIGINT NOT NULL IDENTITY, 
    source_root_id BIGINT NOT NULL, 
    path VARBINARY(1600) NOT NULL, 
    size BIGINT NULL, 
    mtime_ns BIGINT NULL, 
    ctime_ns BIGINT NULL, 
    inode BIGINT NULL, 
    device BIGINT NULL, 
    content_hash NVARCHAR(64) COLLATE Latin1_General_BIN2 NULL, 
    current_version_id BIGINT NULL, 
    versions BIGINT NOT NULL DEFAULT 0, 
    hashed_at_us BIGINT NOT NULL DEFAULT 0, 
    missed_scans INTEGER NOT NULL DEFAULT 0, 
    deleted BIT NOT NULL, 
    CONSTRAINT pk_file_location PRIMARY KEY (id), 
    CONSTRAINT fk_file_location_source_root_id_source_root FOREIGN KEY(source_root_id) REFERENCES source_root (id), 
    CONSTRAINT uq_file_location_source_root_id_path UNIQUE (source_root_id, path)
)

CREATE TABLE topic_config (
    id BIGINT NOT NULL IDENTITY, 
    plugin_name NVARCHAR(100) COLLATE Latin1_General_BIN2 NOT NULL, 
    topic NVARCHAR(150) COLLATE Latin1_General_BIN2 NOT NULL, 
    sink VARBINARY(max) NOT NULL, 
    mode NVARCHAR(10) COLLATE Latin1_General_BIN2 NOT NULL, 
    position BIGINT NOT NULL, 
    active BIT NOT NULL, 
    CONSTRAINT pk_topic_config PRIMARY KEY (id), 
    CONSTRAINT fk_topic_config_plugin_name_plugin_config FOREIGN KEY(plugin_name) REFERENCES plugin_config (plugin_name), 
    CONSTRAINT uq_topic_config_plugin_name_topic UNIQUE (plugin_name, topic)
)

CREATE TABLE file_version (
    id BIGINT NOT NULL IDENTITY, 
    location_id BIGINT NOT NULL, 
    ordinal BIGINT NOT NULL, 
    content_hash NVARCHAR(64) COLLATE Latin1_General_BIN2 NOT NULL, 
    size BIGINT NOT NULL, 
    mtime_ns BIGINT NOT NULL, 
    ctime_ns BIGINT NOT NULL, 
    inode BIGINT NOT NULL, 
    device BIGINT NOT NULL, 
    seen_at_us BIGINT NOT NULL, 
    CONSTRAINT pk_file_version PRIMARY KEY (id), 
    CONSTRAINT fk_file_version_content_hash_file_hash_registry FOREIGN KEY(content_hash) REFERENCES file_hash_registry (content_hash), 
    CONSTRAINT fk_file_version_location_id_file_location FOREIGN KEY(location_id) REFERENCES file_location (id), 
    CONSTRAINT uq_file_version_location_id_ordinal UNIQUE (location_id, ordinal)
)

CREATE TABLE file_tag (
    id BIGINT NOT NULL IDENTITY, 
    file_version_id BIGINT NOT NULL, 
    tag NVARCHAR(200) COLLATE Latin1_General_BIN2 NOT NULL, 
    rule_id BIGINT NULL, 
    CONSTRAINT pk_file_tag PRIMARY KEY (id), 
    CONSTRAINT fk_file_tag_file_version_id_file_version FOREIGN KEY(file_version_id) REFERENCES file_version (id), 
    CONSTRAINT fk_file_tag_rule_id_routing_rule FOREIGN KEY(rule_id) REFERENCES routing_rule (id), 
    CONSTRAINT uq_file_tag_file_version_id_tag UNIQUE (file_version_id, tag)
)

CREATE TABLE processing_job (
    id BIGINT NOT NULL IDENTITY, 
    status NVARCHAR(10) COLLATE Latin1_General_BIN2 NOT NULL, 
    plugin_name NVARCHAR(100) COLLATE Latin1_General_BIN2 NOT NULL, 
    plugin_hash NVARCHAR(64) COLLATE Latin1_General_BIN2 NULL, 
    file_version_id BIGINT NOT NULL, 
    location_id BIGINT NOT NULL, 
    ordinal BIGINT NOT NULL, 
    priority BIGINT NOT NULL, 
    due BIGINT NOT NULL, 
    attempt BIGINT NOT NULL DEFAULT 0, 
    tries BIGINT NOT NULL DEFAULT 0, 
    crashes BIGINT NOT NULL DEFAULT 0, 
    token NVARCHAR(32) COLLATE Latin1_General_BIN2 NULL, 
    worker NVARCHAR(200) COLLATE Latin1_General_BIN2 NULL, 
    lease_until_us BIGINT NOT NULL DEFAULT 0, 
    not_before_us BIGINT NOT NULL, 
    enqueued_at_us BIGINT NOT NULL, 
    started_at_us BIGINT NULL, 
    decided_at_us BIGINT NULL, 
    finished_at_us BIGINT NULL, 
    rows BIGINT NOT NULL DEFAULT 0, 
    rejects BIGINT NOT NULL DEFAULT 0, 
    error_class NVARCHAR(20) COLLATE Latin1_General_BIN2 NULL, 
    error_message NVARCHAR(max) COLLATE Latin1_General_BIN2 NULL, 
    manifest NVARCHAR(max) COLLATE Latin1_General_BIN2 NULL, 
    CONSTRAINT pk_processing_job PRIMARY KEY (id), 
    CONSTRAINT fk_processing_job_file_version_id_file_version FOREIGN KEY(file_version_id) REFERENCES file_version (id)
)

CREATE INDEX ix_processing_job_claim ON processing_job (due, id, plugin_name, not_before_us, status) WHERE status = 'QUEUED'

CREATE INDEX ix_processing_job_held ON processing_job (lease_until_us) WHERE token IS NOT NULL

CREATE INDEX ix_processing_job_ended ON processing_job (status, finished_at_us, plugin_name) WHERE finished_at_us IS NOT NULL

CREATE INDEX ix_processing_job_version ON processing_job (file_version_id, plugin_name)

CREATE TABLE job_event (
    id BIGINT NOT NULL IDENTITY, 
    job_id BIGINT NOT NULL, 
    attempt BIGINT NOT NULL, 
    at_us BIGINT NOT NULL, 
    event NVARCHAR(20) COLLATE Latin1_General_BIN2 NOT NULL, 
    worker NVARCHAR(200) COLLATE Latin1_General_BIN2 NULL, 
    error_class NVARCHAR(20) COLLATE Latin1_General_BIN2 NULL, 
    message NVARCHAR(max) COLLATE Latin1_General_BIN2 NULL, 
    detail NVARCHAR(max) COLLATE Latin1_General_BIN2 NULL, 
    actor NVARCHAR(200) COLLATE Latin1_General_BIN2 NULL, 
    CONSTRAINT pk_job_event PRIMARY KEY (id), 
    CONSTRAINT fk_job_event_job_id_processing_job FOREIGN KEY(job_id) REFERENCES processing_job (id)
)

CREATE INDEX ix_job_event_job_id ON job_event (job_id)

CREATE TABLE target_bundle (
    bundle_key NVARCHAR(64) COLLATE Latin1_General_BIN2 NOT NULL, 
    scheme NVARCHAR(50) COLLATE Latin1_General_BIN2 NOT NULL, 
    location VARBINARY(max) NOT NULL, 
    name NVARCHAR(max) COLLATE Latin1_General_BIN2 NOT NULL, 
    bundle NVARCHAR(150) COLLATE Latin1_General_BIN2 NOT NULL, 
    revision BIGINT NOT NULL, 
    installed BIGINT NOT NULL, 
    CONSTRAINT pk_target_bundle PRIMARY KEY (bundle_key)
)

ALTER TABLE published_slot ADD bundle NVARCHAR(150) COLLATE Latin1_General_BIN2 NOT NULL DEFAULT ''

CREATE TABLE adoption (
    id BIGINT NOT NULL IDENTITY, 
    at_us BIGINT NOT NULL, 
    actor NVARCHAR(200) COLLATE Latin1_General_BIN2 NOT NULL, 
    former_uuid NVARCHAR(32) COLLATE Latin1_General_BIN2 NOT NULL, 
    uuid NVARCHAR(32) COLLATE Latin1_General_BIN2 NOT NULL, 
    CONSTRAINT pk_adoption PRIMARY KEY (id)
)

CREATE TABLE adopted_slot (
    id BIGINT NOT NULL IDENTITY, 
    adoption_id BIGINT NOT NULL, 
    plugin_name NVARCHAR(100) COLLATE Latin1_General_BIN2 NOT NULL, 
    topic NVARCHAR(150) COLLATE Latin1_General_BIN2 NOT NULL, 
    location_id BIGINT NOT NULL, 
    version_id BIGINT NOT NULL, 
    mode NVARCHAR(10) COLLATE Latin1_General_BIN2 NOT NULL, 
    scheme NVARCHAR(50) COLLATE Latin1_General_BIN2 NOT NULL, 
    location VARBINARY(max) NOT NULL, 
    name NVARCHAR(max) COLLATE Latin1_General_BIN2 NOT NULL, 
    former_uuid NVARCHAR(32) COLLATE Latin1_General_BIN2 NOT NULL, 
    former_job_id BIGINT NOT NULL, 
    former_location_id BIGINT NOT NULL, 
    former_version_id BIGINT NOT NULL, 
    former_ordinal BIGINT NOT NULL, 
    content_hash NVARCHAR(64) COLLATE Latin1_General_BIN2 NULL, 
    rows BIGINT NOT NULL, 
    CONSTRAINT pk_adopted_slot PRIMARY KEY (id), 
    CONSTRAINT fk_adopted_slot_adoption_id_adoption FOREIGN KEY(adoption_id) REFERENCES adoption (id), 
    CONSTRAINT fk_adopted_slot_location_id_file_location FOREIGN KEY(location_id) REFERENCES file_location (id)
)

CREATE INDEX ix_adopted_slot_location_id ON adopted_slot (location_id)

CREATE INDEX ix_adopted_slot_former_job_id ON adopted_slot (former_job_id)

CREATE TABLE adopted_version (
    location_id BIGINT NOT NULL, 
    version_id BIGINT NOT NULL, 
    content_hash NVARCHAR(64) COLLATE Latin1_General_BIN2 NULL, 
    CONSTRAINT pk_adopted_version PRIMARY KEY (location_id), 
    CONSTRAINT fk_adopted_version_location_id_file_location FOREIGN KEY(location_id) REFERENCES file_location (id)
)

ALTER TABLE processing_job ADD kind NVARCHAR(10) COLLATE Latin1_General_BIN2 NOT NULL DEFAULT 'RUN'

CREATE TABLE file_departure (
    file_version_id BIGINT NOT NULL, 
    location_id BIGINT NOT NULL, 
    action NVARCHAR(10) COLLATE Latin1_General_BIN2 NOT NULL, 
    place VARBINARY(max) NOT NULL, 
    size BIGINT NOT NULL, 
    mtime_ns BIGINT NOT NULL, 
    ctime_ns BIGINT NOT NULL, 
    inode BIGINT NOT NULL, 
    device BIGINT NOT NULL, 
    planned_at_us BIGINT NOT NULL, 
    ended_at_us BIGINT NULL, 
    outcome NVARCHAR(10) COLLATE Latin1_General_BIN2 NULL, 
    message NVARCHAR(max) COLLATE Latin1_General_BIN2 NULL, 
    CONSTRAINT pk_file_departure PRIMARY KEY (file_version_id), 
    CONSTRAINT fk_file_departure_file_version_id_file_version FOREIGN KEY(file_version_id) REFERENCES file_version (id), 
    CONSTRAINT fk_file_departure_location_id_file_location FOREIGN KEY(location_id) REFERENCES file_location (id)
)

CREATE INDEX ix_file_departure_location_id ON file_departure (location_id)

ALTER TABLE source_root ADD disturbances BIGINT NOT NULL DEFAULT '0'

CREATE TABLE pruning (
    id BIGINT NOT NULL IDENTITY, 
    at_us BIGINT NOT NULL, 
    actor NVARCHAR(200) COLLATE Latin1_General_BIN2 NOT NULL, 
    before_us BIGINT NOT NULL, 
    jobs BIGINT NOT NULL, 
    events BIGINT NOT NULL, 
    CONSTRAINT pk_pruning PRIMARY KEY (id)
)

ALTER TABLE topic_config ADD duplicates NVARCHAR(10) COLLATE Latin1_General_BIN2 NOT NULL DEFAULT 'process'

CREATE TABLE content_doer (
    plugin_name NVARCHAR(100) COLLATE Latin1_General_BIN2 NOT NULL, 
    content_hash NVARCHAR(64) COLLATE Latin1_General_BIN2 NOT NULL, 
    job_id BIGINT NOT NULL, 
    location_id BIGINT NOT NULL, 
    CONSTRAINT pk_content_doer PRIMARY KEY (plugin_name, content_hash)
)

CREATE INDEX ix_content_doer_file ON content_doer (plugin_name, location_id)

CREATE TABLE content_copy (
    job_id BIGINT NOT NULL, 
    plugin_name NVARCHAR(100) COLLATE Latin1_General_BIN2 NOT NULL, 
    content_hash NVARCHAR(64) COLLATE Latin1_General_BIN2 NOT NULL, 
    CONSTRAINT pk_content_copy PRIMARY KEY (job_id)
)

CREATE INDEX ix_content_copy_content ON content_copy (plugin_name, content_hash)

CREATE TABLE scout_lease (
    source_root_id BIGINT NOT NULL, 
    fence BIGINT NOT NULL, 
    holder NVARCHAR(200) COLLATE Latin1_General_BIN2 NULL, 
    hostname NVARCHAR(255) COLLATE Latin1_General_BIN2 NOT NULL, 
    host_key NVARCHAR(300) COLLATE Latin1_General_BIN2 NOT NULL, 
    pid BIGINT NOT NULL, 
    pid_started BIGINT NOT NULL, 
    lasting BIT NOT NULL, 
    until_us BIGINT NOT NULL, 
    CONSTRAINT pk_scout_lease PRIMARY KEY (source_root_id), 
    CONSTRAINT fk_scout_lease_source_root_id_source_root FOREIGN KEY(source_root_id) REFERENCES source_root (id)
)

CREATE TABLE plugin_deployment (
    id BIGINT NOT NULL IDENTITY, 
    plugin_name NVARCHAR(100) COLLATE Latin1_General_BIN2 NOT NULL, 
    version BIGINT NOT NULL, 
    content_hash NVARCHAR(64) COLLATE Latin1_General_BIN2 NOT NULL, 
    origin NVARCHAR(10) COLLATE Latin1_General_BIN2 NOT NULL, 
    verdict NVARCHAR(10) COLLATE Latin1_General_BIN2 NOT NULL, 
    message NVARCHAR(max) COLLATE Latin1_General_BIN2 NOT NULL, 
    at_us BIGINT NOT NULL, 
    actor NVARCHAR(200) COLLATE Latin1_General_BIN2 NOT NULL, 
    key_id NVARCHAR(64) COLLATE Latin1_General_BIN2 NULL, 
    scheme NVARCHAR(20) COLLATE Latin1_General_BIN2 NULL, 
    body VARBINARY(max) NULL, 
    signature VARBINARY(max) NULL, 
    CONSTRAINT pk_plugin_deployment PRIMARY KEY (id), 
    CONSTRAINT uq_plugin_deployment_plugin_name_version UNIQUE (plugin_name, version)
)

CREATE TABLE deploy_nonce (
    nonce NVARCHAR(32) COLLATE Latin1_General_BIN2 NOT NULL, 
    used_at_us BIGINT NOT NULL, 
    CONSTRAINT pk_deploy_nonce PRIMARY KEY (nonce)
)

CREATE INDEX ix_deploy_nonce_used_at_us ON deploy_nonce (used_at_us)

CREATE TABLE deploy_refusal (
    id BIGINT NOT NULL IDENTITY, 
    at_us BIGINT NOT NULL, 
    failed_check NVARCHAR(20) COLLATE Latin1_General_BIN2 NOT NULL, 
    message NVARCHAR(max) COLLATE Latin1_General_BIN2 NOT NULL, 
    plugin_name NVARCHAR(100) COLLATE Latin1_General_BIN2 NOT NULL, 
    version BIGINT NOT NULL, 
    key_id NVARCHAR(100) COLLATE Latin1_General_BIN2 NOT NULL, 
    CONSTRAINT pk_deploy_refusal PRIMARY KEY (id)
)

INSERT INTO plugin_deployment (plugin_name, version, content_hash, origin, verdict, message, at_us, actor) SELECT plugin_manifest.plugin_name, plugin_manifest.version, plugin_manifest.content_hash, 'directory', 'installed', '', plugin_manifest.created_at_us, '' 
FROM plugin_manifest

ALTER TABLE plugin_config ADD grants NVARCHAR(max) COLLATE Latin1_General_BIN2 NOT NULL DEFAULT '{}'

ALTER TABLE processing_job ADD sandbox NVARCHAR(200) COLLATE Latin1_General_BIN2 NULL

CREATE TABLE plugin_environment (
    id BIGINT NOT NULL IDENTITY, 
    digest NVARCHAR(64) COLLATE Latin1_General_BIN2 NOT NULL, 
    directory NVARCHAR(32) COLLATE Latin1_General_BIN2 NOT NULL, 
    python NVARCHAR(100) COLLATE Latin1_General_BIN2 NOT NULL, 
    packages NVARCHAR(max) COLLATE Latin1_General_BIN2 NOT NULL, 
    noted_at_us BIGINT NOT NULL, 
    CONSTRAINT pk_plugin_environment PRIMARY KEY (id), 
    CONSTRAINT uq_plugin_environment_digest UNIQUE (digest)
)

ALTER TABLE plugin_manifest ADD environment NVARCHAR(64) COLLATE Latin1_General_BIN2 NULL

ALTER TABLE processing_job ADD environment NVARCHAR(64) COLLATE Latin1_General_BIN2 NULL
