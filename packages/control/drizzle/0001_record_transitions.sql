-- Every change of a workspace's state is recorded in the statement that makes it, whoever makes it.
CREATE FUNCTION record_transition() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO transitions (workspace_id, at, state, reason, generation)
  VALUES (NEW.id, clock_timestamp(), NEW.state, NEW.reason, NEW.generation);
  RETURN NULL;
END;
$$;
--> statement-breakpoint
CREATE TRIGGER workspaces_created AFTER INSERT ON workspaces
  FOR EACH ROW EXECUTE FUNCTION record_transition();
--> statement-breakpoint
CREATE TRIGGER workspaces_changed AFTER UPDATE ON workspaces
  FOR EACH ROW WHEN (OLD.state IS DISTINCT FROM NEW.state OR OLD.generation IS DISTINCT FROM NEW.generation)
  EXECUTE FUNCTION record_transition();
