-- There is one registry, whatever the serving role may insert elsewhere.
CREATE UNIQUE INDEX registry_one ON registry ((true));
