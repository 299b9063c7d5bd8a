CREATE TABLE model_state (
    id INTEGER NOT NULL,
    number BIGINT NOT NULL,
    schema_version INTEGER NOT NULL,
    PRIMARY KEY (id),
    CONSTRAINT one_row CHECK (id = 1)
);
CREATE TABLE queues (
    id VARCHAR(36) NOT NULL,
    name VARCHAR(200) NOT NULL,
    owner VARCHAR(200) NOT NULL,
    status VARCHAR(200) NOT NULL,
    requested_status VARCHAR(32) NOT NULL,
    created_ms BIGINT NOT NULL,
    updated_ms BIGINT NOT NULL,
    revision INTEGER NOT NULL,
    type VARCHAR(16) NOT NULL,
    max_length INTEGER,
    max_length_bytes BIGINT,
    message_ttl_ms BIGINT,
    expires_ms BIGINT,
    overflow VARCHAR(16) NOT NULL,
    dead_letter VARCHAR(200),
    PRIMARY KEY (id),
    UNIQUE (name)
);
CREATE INDEX ix_queues_dead_letter ON queues (dead_letter);
CREATE TABLE processors (
    id VARCHAR(36) NOT NULL,
    name VARCHAR(200) NOT NULL,
    owner VARCHAR(200) NOT NULL,
    status VARCHAR(200) NOT NULL,
    requested_status VARCHAR(32) NOT NULL,
    created_ms BIGINT NOT NULL,
    updated_ms BIGINT NOT NULL,
    revision INTEGER NOT NULL,
    git TEXT NOT NULL,
    module VARCHAR(200) NOT NULL,
    branch VARCHAR(200),
    commit VARCHAR(64),
    tag VARCHAR(200),
    requirements TEXT,
    module_path TEXT,
    workers INTEGER NOT NULL,
    retries INTEGER,
    retry_delay_ms BIGINT,
    time_limit_ms BIGINT,
    rate_limit VARCHAR(32),
    recycle_calls BIGINT,
    recycle_age_ms BIGINT,
    recycle_bytes BIGINT,
    restarted INTEGER NOT NULL,
    env JSON NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (name)
);
CREATE TABLE sockets (
    id VARCHAR(36) NOT NULL,
    name VARCHAR(200) NOT NULL,
    owner VARCHAR(200) NOT NULL,
    status VARCHAR(200) NOT NULL,
    requested_status VARCHAR(32) NOT NULL,
    created_ms BIGINT NOT NULL,
    updated_ms BIGINT NOT NULL,
    revision INTEGER NOT NULL,
    processor VARCHAR(200) NOT NULL,
    task VARCHAR(200) NOT NULL,
    queue VARCHAR(200) NOT NULL,
    priority INTEGER,
    rate_limit VARCHAR(32),
    concurrency INTEGER,
    key_concurrency INTEGER,
    retries INTEGER,
    retry_delay_ms BIGINT,
    time_limit_ms BIGINT,
    PRIMARY KEY (id),
    UNIQUE (name),
    FOREIGN KEY(processor) REFERENCES processors (name) ON DELETE RESTRICT,
    FOREIGN KEY(queue) REFERENCES queues (name) ON DELETE RESTRICT
);
CREATE INDEX ix_sockets_queue ON sockets (queue);
CREATE INDEX ix_sockets_processor ON sockets (processor);
CREATE TABLE deployments (
    id VARCHAR(36) NOT NULL,
    name VARCHAR(200) NOT NULL,
    owner VARCHAR(200) NOT NULL,
    status VARCHAR(200) NOT NULL,
    requested_status VARCHAR(32) NOT NULL,
    created_ms BIGINT NOT NULL,
    updated_ms BIGINT NOT NULL,
    revision INTEGER NOT NULL,
    processor VARCHAR(200) NOT NULL,
    host VARCHAR(253) NOT NULL,
    cpus INTEGER NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (name),
    FOREIGN KEY(processor) REFERENCES processors (name) ON DELETE RESTRICT
);
CREATE INDEX ix_deployments_processor ON deployments (processor);
ALTER TABLE queues ADD CONSTRAINT fk_queues_dead_letter FOREIGN KEY(dead_letter) REFERENCES sockets (name) ON DELETE RESTRICT;
