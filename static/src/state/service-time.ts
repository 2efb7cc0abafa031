/** The service's clock. The device's may be wrong by hours, and rides and races of all devices are compared by their times. */

/**
 * Least error of the device's clock that is corrected, in milliseconds. The service names whole seconds, and its response
 * takes some time.
 */
const ERROR_MIN_MS = 5000

/** Time by which the service's clock is ahead of the device's, in milliseconds. */
let aheadMs = 0

/** Returns the service's time in milliseconds since 1970; the device's until the service has named its own. */
export function serviceTime(): number {
  return Date.now() + aheadMs
}

/** Sets the service's time, as a response names it. */
export function setServiceTime(time: number): void {
  if (Math.abs(time - serviceTime()) >= ERROR_MIN_MS) aheadMs = time - Date.now()
}
