-- A third role. The check of a column is dropped with the column, so the column is made anew.
ALTER TABLE users ADD COLUMN new_role TEXT NOT NULL DEFAULT 'user' CHECK (new_role IN ('user', 'viewer', 'admin'));
UPDATE users SET new_role = role;
ALTER TABLE users DROP COLUMN role;
ALTER TABLE users RENAME COLUMN new_role TO role;
