/** The racer that a board shows as the rider. */
import { computed, type ComputedRef } from 'vue'

import { rider } from '../state/rider'
import type { RaceOnPage } from './useRace'

/** Returns the number of the ride's rider, otherwise of the next ride's: another tab may choose another rider. */
export function useYou({
  racing,
  identity,
}: Pick<RaceOnPage, 'racing' | 'identity'>): ComputedRef<number> {
  return computed(() => (racing.value ? identity.value.racerId : rider.value.racerId))
}
