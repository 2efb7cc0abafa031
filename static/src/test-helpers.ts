/** Helpers of several tests. */

/** Waits for all that is on its way. */
export const settled = () => new Promise((resolve) => setTimeout(resolve))

export function setHidden(hidden: boolean): void {
  Object.defineProperty(document, 'hidden', { value: hidden, configurable: true })
  document.dispatchEvent(new Event('visibilitychange'))
}
