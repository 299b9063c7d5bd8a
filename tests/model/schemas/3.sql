CREATE TABLE model_state (
    id INTEGER NOT NULL,
    number BIGINT NOT NULL,
    schema_version INTEGER NOT NULL,
    PRIMARY KEY (id),
    CONSTRAINT one_row CHECK (id = 1)
);
CREATE TABLE networks (
    id VARCHAR(36) NOT NULL,
    name VARCHAR(200) NOT NULL,
    owner VARCHAR(200) NOT NULL,
    status VARCHAR(200) NOT NULL,
    requested_status VARCHAR(32) NOT NULL,
    created_ms BIGINT NOT NULL,
    updated_ms BIGINT NOT NULL,
    revision INTEGER NOT NULL,
    description TEXT,
    PRIMARY KEY (id),
    UNIQUE (name)
);
CREATE TABLE schedulers (
    id VARCHAR(36) NOT NULL,
    name VARCHAR(200) NOT NULL,
    owner VARCHAR(200) NOT NULL,
    status VARCHAR(200) NOT NULL,
    requested_status VARCHAR(32) NOT NULL,
    created_ms BIGINT NOT NULL,
    updated_ms BIGINT NOT NULL,
    revision INTEGER NOT NULL,
    network VARCHAR(200),
    strategy VARCHAR(16) NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (name)
);
CREATE INDEX ix_schedulers_network ON schedulers (network);
CREATE TABLE nodes (
    id VARCHAR(36) NOT NULL,
    name VARCHAR(200) NOT NULL,
    owner VARCHAR(200) NOT NULL,
    status VARCHAR(200) NOT NULL,
    requested_status VARCHAR(32) NOT NULL,
    created_ms BIGINT NOT NULL,
    updated_ms BIGINT NOT NULL,
    revision INTEGER NOT NULL,
    network VARCHAR(200),
    scheduler VARCHAR(200),
    host VARCHAR(253),
    cpus INTEGER,
    PRIMARY KEY (id),
    UNIQUE (name)
);
CREATE INDEX ix_nodes_scheduler ON nodes (scheduler);
CREATE INDEX ix_nodes_network ON nodes (network);
CREATE TABLE queues (
    id VARCHAR(36) NOT NULL,
    name VARCHAR(200) NOT NULL,
    owner VARCHAR(200) NOT NULL,
    status VARCHAR(200) NOT NULL,
    requested_status VARCHAR(32) NOT NULL,
    created_ms BIGINT NOT NULL,
    updated_ms BIGINT NOT NULL,
    revision INTEGER NOT NULL,
    network VARCHAR(200),
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
CREATE INDEX ix_queues_network ON queues (network);
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
    "commit" VARCHAR(64),
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
    UNIQUE (name)
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
    UNIQUE (name)
);
CREATE INDEX ix_deployments_processor ON deployments (processor);
CREATE TABLE plugs (
    id VARCHAR(36) NOT NULL,
    name VARCHAR(200) NOT NULL,
    owner VARCHAR(200) NOT NULL,
    status VARCHAR(200) NOT NULL,
    requested_status VARCHAR(32) NOT NULL,
    created_ms BIGINT NOT NULL,
    updated_ms BIGINT NOT NULL,
    revision INTEGER NOT NULL,
    source VARCHAR(200) NOT NULL,
    target VARCHAR(200) NOT NULL,
    queue VARCHAR(200),
    type VARCHAR(16) NOT NULL,
    argument VARCHAR(200),
    PRIMARY KEY (id),
    UNIQUE (name)
);
CREATE INDEX ix_plugs_target ON plugs (target);
CREATE INDEX ix_plugs_source ON plugs (source);
CREATE INDEX ix_plugs_queue ON plugs (queue);
CREATE TABLE gates (
    id VARCHAR(36) NOT NULL,
    name VARCHAR(200) NOT NULL,
    owner VARCHAR(200) NOT NULL,
    status VARCHAR(200) NOT NULL,
    requested_status VARCHAR(32) NOT NULL,
    created_ms BIGINT NOT NULL,
    updated_ms BIGINT NOT NULL,
    revision INTEGER NOT NULL,
    plug VARCHAR(200) NOT NULL,
    mode VARCHAR(16) NOT NULL,
    socket VARCHAR(200),
    PRIMARY KEY (id),
    UNIQUE (name)
);
CREATE INDEX ix_gates_plug ON gates (plug);
CREATE INDEX ix_gates_socket ON gates (socket);
