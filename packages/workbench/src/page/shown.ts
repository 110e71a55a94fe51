/**
 * Resolves when somebody looks at the page: at once, unless the browser prepares it before anybody asked for it. Until then
 * nothing may happen that costs something or that others see, such as waking a machine.
 * @returns whether there was a wait.
 */
export async function whenShown(): Promise<boolean> {
  if (!document.prerendering) return false;
  await new Promise((resolve) => document.addEventListener("prerenderingchange", resolve, { once: true }));
  return true;
}
