/** Helpers of several tests. */

/** Waits for all that is on its way. */
export const settled = () => new Promise((resolve) => setTimeout(resolve))

export function setHidden(hidden: boolean): void {
  Object.defineProperty(document, 'hidden', { value: hidden, configurable: true })
  document.dispatchEvent(new Event('visibilitychange'))
}

/** Goes to an address as the browser does when it is typed. */
export function typeAddress(address: string): void {
  history.pushState(null, '', `#${address}`)
  dispatchEvent(new PopStateEvent('popstate'))
}
