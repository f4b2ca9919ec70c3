CREATE TABLE note (id bigint PRIMARY KEY, text text NOT NULL);
GRANT SELECT ON note TO kit_app;
