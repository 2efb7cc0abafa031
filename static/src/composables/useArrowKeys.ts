/** Arrow keys change cadence and resistance while the race is on. */
import { useEventListener } from '@vueuse/core'

import { CADENCE, clamp, RESISTANCE } from '../race/output'
import type { RaceOnPage } from './useRace'

/** Change by one key stroke, without and with Shift. */
const STEP = 2
const BIG_STEP = 10

export function useArrowKeys({ racing, cadence, resistance, auto }: RaceOnPage): void {
  useEventListener('keydown', (event) => {
    if (!racing.value || event.altKey || event.ctrlKey || event.metaKey) return
    // A slider or a choice has the arrow keys for itself.
    const field = 'input:not([type=checkbox]), select'
    if (event.target instanceof Element && event.target.closest(field)) return
    const step = event.shiftKey ? BIG_STEP : STEP
    if (event.key === 'ArrowUp') cadence.value = clamp(cadence.value + step, CADENCE)
    else if (event.key === 'ArrowDown') cadence.value = clamp(cadence.value - step, CADENCE)
    else if (event.key === 'ArrowRight')
      resistance.value = clamp(resistance.value + step, RESISTANCE)
    else if (event.key === 'ArrowLeft')
      resistance.value = clamp(resistance.value - step, RESISTANCE)
    else return
    auto.value = false
    event.preventDefault()
  })
}
