import type { ForwardedPort, PortVisibility, Workspace } from "@dormouse/contract";
import { useEffect, useState } from "preact/hooks";
import { api, messageOf } from "../api.ts";
import { Dialog } from "../dialog.tsx";

const visibilities: readonly { value: PortVisibility; label: string }[] = [
  { value: "private", label: "Private" },
  { value: "organisation", label: "Organisation" },
  { value: "public", label: "Public" },
];

/** A workspace's ports, and who may open each. */
export function PortsDialog(props: { workspace: Workspace; onClose: () => void }) {
  const { id, name } = props.workspace;
  const [ports, setPorts] = useState<readonly ForwardedPort[]>();
  const [problem, setProblem] = useState<string>();

  const act = async (work: () => Promise<unknown>) => {
    setProblem(undefined);
    try {
      await work();
      setPorts((await api.ports.list({ workspace: id })).ports);
    } catch (caught) {
      setProblem(messageOf(caught));
    }
  };
  useEffect(() => void act(async () => {}), [id]);

  return (
    <Dialog title={`Ports of ${name}`} onClose={props.onClose}>
      {problem && (
        <p class="problem" role="alert">
          {problem}
        </p>
      )}
      {ports?.length === 0 && <p class="muted">Nothing listens in it now.</p>}
      {ports && ports.length > 0 && (
        <ul class="ports">
          {ports.map((port) => (
            <PortRow
              key={port.port}
              port={port}
              onVisibility={(visibility) =>
                void act(() => api.ports.set({ workspace: id, port: port.port, visibility }))
              }
            />
          ))}
        </ul>
      )}
      <div class="dialog-actions">
        <button class="button" type="button" autofocus onClick={props.onClose}>
          Close
        </button>
      </div>
    </Dialog>
  );
}

function PortRow(props: { port: ForwardedPort; onVisibility: (visibility: PortVisibility) => void }) {
  const { port, label, process, isListening, isForwarded, visibility, url } = props.port;
  const name = label === null ? String(port) : `${label} (${port})`;
  return (
    <li>
      <div>
        {url && isForwarded ? (
          <a href={url} target="_blank" rel="noreferrer">
            {name}
          </a>
        ) : (
          <span>{name}</span>
        )}
        <p class="muted small">
          {isListening ? (process ?? "listens") : "nothing listens"}
          {isForwarded ? "" : " · not forwarded"}
        </p>
      </div>
      <select
        aria-label={`Who may open port ${port}`}
        value={visibility}
        onChange={({ currentTarget }) => props.onVisibility(currentTarget.value as PortVisibility)}
      >
        {visibilities.map(({ value, label }) => (
          <option key={value} value={value}>
            {label}
          </option>
        ))}
      </select>
    </li>
  );
}
