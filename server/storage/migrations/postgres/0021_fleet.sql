-- Several processes on one database.

-- The least migration that a program has to know to open this database. Programs of releases side by side
-- pass over newer migrations; one that they cannot live with sets this to its own number.
INSERT INTO upkeep (name, value) VALUES ('oldest-migration', 21) ON CONFLICT (name) DO UPDATE SET value = 21;
