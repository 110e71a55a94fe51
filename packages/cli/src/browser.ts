import { spawn } from "node:child_process";

/**
 * Opens an address in the user's browser, when there is one to see it.
 * @returns whether a browser was asked; its own failure is not waited for.
 */
export function openInBrowser(url: string): Promise<boolean> {
  const opener = openerOf(url);
  if (!opener) return Promise.resolve(false);
  return new Promise((resolve) => {
    const child = spawn(opener.command, opener.args, { stdio: "ignore", detached: true });
    child.once("error", () => resolve(false));
    child.once("spawn", () => {
      child.unref();
      resolve(true);
    });
  });
}

function openerOf(url: string): { command: string; args: string[] } | undefined {
  if (process.env.BROWSER) return { command: process.env.BROWSER, args: [url] };
  if (process.platform === "darwin") return { command: "open", args: [url] };
  if (process.platform === "win32") return { command: "rundll32", args: ["url.dll,FileProtocolHandler", url] };
  const hasScreen = process.env.DISPLAY || process.env.WAYLAND_DISPLAY;
  return hasScreen ? { command: "xdg-open", args: [url] } : undefined;
}
