/** Debian's Chromium; `CHROMIUM` names another one. */
export const chromiumPath = process.env.CHROMIUM ?? "/usr/bin/chromium";

/** What it needs to run as root, without a screen and without asking anybody anything. */
export const chromiumFlags = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/** Of every page, in pixels. */
export const viewport = { width: 1280, height: 800 };
