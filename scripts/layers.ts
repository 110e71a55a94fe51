/** What each package may import, from ARCHITECTURE.md. Nothing lower imports anything higher. */
export const layers: Readonly<Record<string, readonly string[]>> = {
  base: [],
  contract: ["base"],
  devcontainer: ["base"],
  compute: ["base"],
  image: ["base"],
  storage: ["base"],
  network: ["base"],
  guest: ["contract", "base"],
  host: ["contract", "devcontainer", "compute", "image", "storage", "network", "guest", "base"],
  // Of network only what is pure: how policies are merged and checked.
  control: ["contract", "devcontainer", "network", "base"],
  gateway: ["contract", "base"],
  pairing: ["contract", "base"],
  sdk: ["contract", "base"],
  workbench: ["sdk", "contract", "base"],
  console: ["sdk", "contract", "base"],
  // The only one that may start everything.
  cli: ["sdk", "host", "control", "gateway", "devcontainer", "contract", "base"],
};
