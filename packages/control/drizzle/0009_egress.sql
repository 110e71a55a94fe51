CREATE TABLE "egress_layers" (
	"scope" text NOT NULL,
	"name" text NOT NULL,
	"layer" jsonb NOT NULL,
	"updated_at" timestamp (3) with time zone DEFAULT now() NOT NULL,
	CONSTRAINT "egress_layers_scope_name_pk" PRIMARY KEY("scope","name")
);
