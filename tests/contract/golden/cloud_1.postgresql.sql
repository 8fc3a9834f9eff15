CREATE TABLE devices (
  device_id VARCHAR(128) NOT NULL,
  line VARCHAR(192) NOT NULL,
  token_space VARCHAR(128) NOT NULL,
  base_model VARCHAR(128) NOT NULL,
  adapter_version BIGINT NOT NULL,
  enrolled_unix_s BIGINT NOT NULL,
  last_seen_unix_s BIGINT NOT NULL,
  last_report VARCHAR(256) NOT NULL,
  PRIMARY KEY (device_id)
);
CREATE INDEX ix_devices_line ON devices (line);
CREATE TABLE labels (
  sample_id BYTEA NOT NULL,
  teacher VARCHAR(128) NOT NULL,
  label JSON NOT NULL,
  PRIMARY KEY (sample_id, teacher)
);
CREATE TABLE policies (
  line VARCHAR(192) NOT NULL,
  revision INTEGER NOT NULL,
  policy JSON NOT NULL,
  PRIMARY KEY (line)
);
CREATE TABLE reports (
  sequence BIGSERIAL NOT NULL,
  device_id VARCHAR(128) NOT NULL,
  line VARCHAR(192) NOT NULL,
  version BIGINT NOT NULL,
  outcome VARCHAR(32) NOT NULL,
  reason VARCHAR(128) NOT NULL,
  detail TEXT NOT NULL,
  numbers JSON NOT NULL,
  received_unix_s BIGINT NOT NULL,
  PRIMARY KEY (sequence)
);
CREATE INDEX ix_reports_device_id ON reports (device_id);
CREATE TABLE rounds (
  id VARCHAR(256) NOT NULL,
  line VARCHAR(192) NOT NULL,
  open_line VARCHAR(192),
  number INTEGER NOT NULL,
  seed BIGINT NOT NULL,
  state VARCHAR(32) NOT NULL,
  num_samples INTEGER NOT NULL,
  base_version BIGINT NOT NULL,
  target_version BIGINT NOT NULL,
  numbers JSON NOT NULL,
  reason TEXT NOT NULL,
  num_starts INTEGER NOT NULL,
  num_errors INTEGER NOT NULL,
  created_unix_s BIGINT NOT NULL,
  changed_unix_s BIGINT NOT NULL,
  not_before_unix_s FLOAT NOT NULL,
  PRIMARY KEY (id),
  UNIQUE (open_line)
);
CREATE INDEX ix_rounds_line ON rounds (line);
CREATE UNIQUE INDEX rounds_by_number ON rounds (line, number);
CREATE TABLE samples (
  sequence BIGSERIAL NOT NULL,
  id BYTEA NOT NULL,
  device_id VARCHAR(128) NOT NULL,
  line VARCHAR(192) NOT NULL,
  token_space VARCHAR(128) NOT NULL,
  state VARCHAR(16) NOT NULL,
  round_id VARCHAR(256),
  score FLOAT,
  received_unix_s BIGINT NOT NULL,
  num_bytes INTEGER NOT NULL,
  body BYTEA NOT NULL,
  PRIMARY KEY (sequence),
  UNIQUE (id)
);
CREATE INDEX ix_samples_round_id ON samples (round_id);
CREATE INDEX samples_by_state ON samples (line, state, sequence);
CREATE TABLE schema_version (
  version SERIAL NOT NULL,
  cloud_id VARCHAR(64) NOT NULL,
  PRIMARY KEY (version)
);
CREATE TABLE usage (
  device_id VARCHAR(128) NOT NULL,
  day INTEGER NOT NULL,
  num_samples BIGINT NOT NULL,
  num_bytes BIGINT NOT NULL,
  PRIMARY KEY (device_id, day)
);
CREATE TABLE round_samples (
  round_id VARCHAR(256) NOT NULL,
  sample_id BYTEA NOT NULL,
  part VARCHAR(32) NOT NULL,
  place INTEGER NOT NULL,
  PRIMARY KEY (round_id, sample_id),
  FOREIGN KEY(round_id) REFERENCES rounds (id)
);
