CREATE TABLE "port_addresses" (
	"label" text PRIMARY KEY NOT NULL,
	"owner_id" text NOT NULL
);
--> statement-breakpoint
CREATE TABLE "port_links" (
	"id" text PRIMARY KEY NOT NULL,
	"workspace_id" text NOT NULL,
	"port" integer NOT NULL,
	"hash" text NOT NULL,
	"created_at" timestamp (3) with time zone DEFAULT now() NOT NULL,
	"expires_at" timestamp (3) with time zone NOT NULL,
	CONSTRAINT "port_links_hash_unique" UNIQUE("hash")
);
--> statement-breakpoint
CREATE TABLE "port_sessions" (
	"hash" text PRIMARY KEY NOT NULL,
	"session_id" text,
	"link_id" text,
	"workspace_id" text NOT NULL,
	"port" integer NOT NULL,
	"expires_at" timestamp (3) with time zone NOT NULL
);
--> statement-breakpoint
CREATE TABLE "port_settings" (
	"workspace_id" text NOT NULL,
	"port" integer NOT NULL,
	"visibility" text,
	"label" text,
	"protocol" text,
	"is_forwarded" boolean,
	CONSTRAINT "port_settings_workspace_id_port_pk" PRIMARY KEY("workspace_id","port")
);
--> statement-breakpoint
CREATE TABLE "port_tickets" (
	"hash" text PRIMARY KEY NOT NULL,
	"session_id" text NOT NULL,
	"workspace_id" text NOT NULL,
	"port" integer NOT NULL,
	"challenge" text NOT NULL,
	"expires_at" timestamp (3) with time zone NOT NULL
);
--> statement-breakpoint
ALTER TABLE "workspaces" ADD COLUMN "address" text;--> statement-breakpoint
ALTER TABLE "workspaces" ADD COLUMN "wake_on_http" boolean DEFAULT true NOT NULL;--> statement-breakpoint
ALTER TABLE "workspaces" ADD COLUMN "wake_on_web_socket" boolean DEFAULT true NOT NULL;--> statement-breakpoint
ALTER TABLE "port_addresses" ADD CONSTRAINT "port_addresses_owner_id_users_id_fk" FOREIGN KEY ("owner_id") REFERENCES "public"."users"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "port_links" ADD CONSTRAINT "port_links_workspace_id_workspaces_id_fk" FOREIGN KEY ("workspace_id") REFERENCES "public"."workspaces"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "port_sessions" ADD CONSTRAINT "port_sessions_session_id_sessions_id_fk" FOREIGN KEY ("session_id") REFERENCES "public"."sessions"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "port_sessions" ADD CONSTRAINT "port_sessions_link_id_port_links_id_fk" FOREIGN KEY ("link_id") REFERENCES "public"."port_links"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "port_sessions" ADD CONSTRAINT "port_sessions_workspace_id_workspaces_id_fk" FOREIGN KEY ("workspace_id") REFERENCES "public"."workspaces"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "port_settings" ADD CONSTRAINT "port_settings_workspace_id_workspaces_id_fk" FOREIGN KEY ("workspace_id") REFERENCES "public"."workspaces"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "port_tickets" ADD CONSTRAINT "port_tickets_session_id_sessions_id_fk" FOREIGN KEY ("session_id") REFERENCES "public"."sessions"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "port_tickets" ADD CONSTRAINT "port_tickets_workspace_id_workspaces_id_fk" FOREIGN KEY ("workspace_id") REFERENCES "public"."workspaces"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
CREATE INDEX "port_links_port" ON "port_links" USING btree ("workspace_id","port");--> statement-breakpoint
CREATE INDEX "port_sessions_session" ON "port_sessions" USING btree ("session_id");--> statement-breakpoint
CREATE INDEX "port_sessions_link" ON "port_sessions" USING btree ("link_id");--> statement-breakpoint
ALTER TABLE "workspaces" ADD CONSTRAINT "workspaces_address_unique" UNIQUE("address");