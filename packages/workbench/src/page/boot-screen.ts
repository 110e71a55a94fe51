import "./boot-screen.css";

/** Something the user can do when the workspace cannot be opened. */
export interface BootAction {
  label: string;
  run: () => void;
  /** The one that Enter takes. */
  isPrimary?: boolean;
}

/** What the page shows before the workbench is there. */
export interface BootScreen {
  /** One line about what is going on; `fraction` (0 to 1) draws a bar that moves. */
  progress(title: string, message: string, fraction?: number): void;
  /** What went wrong in one line, and what can be done. */
  problem(title: string, message: string, actions: readonly BootAction[]): void;
  /** Uncovers the page. */
  remove(): void;
  /** Covers it again. */
  show(): void;
}

/** Shows the screen over the whole page. */
export function showBootScreen(parent: HTMLElement): BootScreen {
  const screen = element("main", "boot");
  const mark = element("img", "boot-mark");
  mark.src = `${import.meta.env.BASE_URL}favicon.svg`;
  mark.alt = "";
  const title = element("h1", "boot-title");
  const message = element("p", "boot-message");
  const track = element("div", "boot-track");
  const bar = element("div", "boot-bar");
  const actionRow = element("div", "boot-actions");
  track.append(bar);
  screen.append(mark, title, message, track, actionRow);
  parent.append(screen);

  const show = (kind: "progress" | "problem", titleText: string, messageText: string) => {
    screen.dataset.kind = kind;
    title.textContent = titleText;
    message.textContent = messageText;
    message.setAttribute("role", kind === "problem" ? "alert" : "status");
    actionRow.replaceChildren();
  };
  return {
    progress(titleText, messageText, fraction) {
      show("progress", titleText, messageText);
      bar.dataset.kind = fraction === undefined ? "unknown" : "known";
      bar.style.width = fraction === undefined ? "" : `${Math.round(fraction * 100)}%`;
    },
    problem(titleText, messageText, actions) {
      show("problem", titleText, messageText);
      for (const { label, run, isPrimary } of actions) {
        const button = element("button", isPrimary ? "boot-button boot-button-primary" : "boot-button");
        button.textContent = label;
        button.addEventListener("click", run);
        actionRow.append(button);
        if (isPrimary) button.focus();
      }
    },
    remove: () => screen.remove(),
    show: () => parent.append(screen),
  };
}

function element<Name extends keyof HTMLElementTagNameMap>(name: Name, className: string): HTMLElementTagNameMap[Name] {
  const made = document.createElement(name);
  made.className = className;
  return made;
}
