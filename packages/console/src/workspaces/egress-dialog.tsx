import {
  type EgressLog,
  type EgressMode,
  placeOfRefusal,
  type Workspace,
  type WorkspaceEgress,
} from "@dormouse/contract";
import { useCallback, useEffect, useState } from "preact/hooks";
import { api, messageOf } from "../api.ts";
import { Dialog } from "../dialog.tsx";
import { relativeTime } from "../time.ts";
import { hoursOfDay } from "./egress-hours.ts";

/** What is refused while the dialog is open is shown soon. */
const lookMs = 2_000;
const modes: readonly { value: EgressMode | ""; label: string }[] = [
  { value: "", label: "As the layers above say" },
  { value: "default", label: "Registries and its own git host" },
  { value: "none", label: "Only what is allowed below" },
  { value: "open", label: "Everything that nothing denies" },
];

/** What may leave a workspace, to be changed as it runs, and what was refused. */
export function EgressDialog(props: { workspace: Workspace; onClose: () => void }) {
  const { id, name } = props.workspace;
  const [shown, setShown] = useState<WorkspaceEgress>();
  const [log, setLog] = useState<EgressLog>();
  const [problem, setProblem] = useState<string>();

  const look = useCallback(async () => {
    const workspace = { workspace: id };
    const [egress, refused] = await Promise.all([api.egress.show(workspace), api.egress.log(workspace)]);
    setShown(egress);
    setLog(refused);
  }, [id]);
  const act = useCallback(
    async (work: () => Promise<unknown>): Promise<boolean> => {
      setProblem(undefined);
      try {
        await work();
        await look();
        return true;
      } catch (caught) {
        setProblem(messageOf(caught));
        return false;
      }
    },
    [look],
  );
  useEffect(() => {
    void act(look);
    // What cannot be asked now is asked again; what a person did stays told.
    const timer = setInterval(() => void look().catch(() => undefined), lookMs);
    return () => clearInterval(timer);
  }, [act, look]);

  const own = shown?.layers.workspace ?? {};
  const change = (verb: "allow" | "deny", rule: string) =>
    act(() => api.egress[verb]({ workspace: id, rules: [rule] }));
  const remove = (list: "allow" | "deny", rule: string) =>
    act(() => api.egress.set({ workspace: id, ...own, [list]: own[list]?.filter((each) => each !== rule) }));
  const setMode = (mode: string) => {
    const { mode: _, ...rest } = own;
    return act(() => api.egress.set({ workspace: id, ...rest, ...(mode !== "" && { mode: mode as EgressMode }) }));
  };

  return (
    <Dialog title={`What may leave ${name}`} onClose={props.onClose}>
      {problem && (
        <p class="problem" role="alert">
          {problem}
        </p>
      )}
      {shown?.policy.mode === "open" && (
        <p class="problem">Open: its programs may connect to anything that no rule denies.</p>
      )}
      {shown && (
        <div class="form">
          <label>
            <span>It may reach</span>
            <select value={own.mode ?? ""} onChange={({ currentTarget }) => void setMode(currentTarget.value)}>
              {modes.map(({ value, label }) => (
                <option key={value} value={value}>
                  {label}
                </option>
              ))}
            </select>
          </label>
          <RuleList title="Also allowed" rules={own.allow ?? []} onRemove={(rule) => void remove("allow", rule)} />
          <RuleList
            title="Denied, whatever allows it"
            rules={own.deny ?? []}
            onRemove={(rule) => void remove("deny", rule)}
          />
          <NewRule onAdd={change} />
          <details>
            <summary>All that is allowed ({shown.policy.allow.length})</summary>
            <p class="small egress-all">{shown.policy.allow.join(", ") || "nothing"}</p>
          </details>
        </div>
      )}
      {log && <Refusals log={log} onAllow={(rule) => void change("allow", rule)} />}
      <div class="dialog-actions">
        <button class="button" type="button" autofocus onClick={props.onClose}>
          Close
        </button>
      </div>
    </Dialog>
  );
}

function RuleList(props: { title: string; rules: readonly string[]; onRemove: (rule: string) => void }) {
  if (props.rules.length === 0) return null;
  return (
    <section aria-label={props.title}>
      <span class="egress-title">{props.title}</span>
      <ul class="egress-rules">
        {props.rules.map((rule) => (
          <li key={rule}>
            <code>{rule}</code>
            <button class="button quiet" type="button" onClick={() => props.onRemove(rule)}>
              Remove<span class="hidden"> {rule}</span>
            </button>
          </li>
        ))}
      </ul>
    </section>
  );
}

function NewRule(props: { onAdd: (verb: "allow" | "deny", rule: string) => Promise<boolean> }) {
  const [rule, setRule] = useState("");
  const add = async (verb: "allow" | "deny") => {
    const added = rule.trim();
    if (added === "" || !(await props.onAdd(verb, added))) return;
    // What was typed meanwhile stays.
    setRule((now) => (now.trim() === added ? "" : now));
  };
  return (
    <form
      class="egress-new"
      onSubmit={(event) => {
        event.preventDefault();
        void add("allow");
      }}
    >
      <input
        aria-label="A rule"
        value={rule}
        placeholder="registry.example, *.example.com:8443, 10.1.0.0/16:5432"
        spellcheck={false}
        onInput={({ currentTarget }) => setRule(currentTarget.value)}
      />
      <button class="button" type="submit">
        Allow
      </button>
      <button class="button danger" type="button" onClick={() => void add("deny")}>
        Deny
      </button>
    </form>
  );
}

function Refusals(props: { log: EgressLog; onAllow: (rule: string) => void }) {
  const { refusals, hours } = props.log;
  const nowMs = Date.now();
  const day = hoursOfDay(hours, nowMs);
  const most = Math.max(1, ...day.map(({ count }) => count));
  const total = day.reduce((sum, { count }) => sum + count, 0);
  return (
    <section aria-label="Refused">
      <p class="egress-title">
        Refused in the last day: <strong>{total}</strong>
      </p>
      <ol class="egress-hours" aria-hidden="true">
        {day.map(({ at, count }) => (
          <li key={at} title={`${count} from ${new Date(at).toLocaleTimeString()}`}>
            <span style={{ height: `${(100 * count) / most}%` }} />
          </li>
        ))}
      </ol>
      <ul class="egress-refusals">
        {refusals.map((refusal) => (
          <li key={`${refusal.name} ${refusal.address} ${refusal.protocol} ${refusal.port}`}>
            <div>
              <code>{placeOfRefusal(refusal)}</code>
              <p class="muted small">
                {refusal.count === 1 ? "once" : `${refusal.count} times`}, {relativeTime(refusal.lastAt, nowMs)}:{" "}
                {refusal.reason}
              </p>
            </div>
            {refusal.rule !== null && (
              <button class="button quiet" type="button" onClick={() => props.onAllow(refusal.rule ?? "")}>
                Allow<span class="hidden"> {refusal.rule}</span>
              </button>
            )}
          </li>
        ))}
      </ul>
    </section>
  );
}
