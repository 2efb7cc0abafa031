/** The pacer that this device rides against. */
import { useStorage } from '@vueuse/core'
import { watch } from 'vue'

import { NO_PACER, parsePacer, PACERS, type PacerChoice } from '../race/pacer'
import { applyNames, hasName, nameOf } from './names'

export const pacer = useStorage<PacerChoice>('alleycat.pacer', { ...NO_PACER }, undefined, {
  serializer: { read: parsePacer, write: JSON.stringify },
})

/** Returns the name under which a pacer is shown. */
export function pacerLabel({ kind, racerId }: PacerChoice): string {
  return racerId === null ? PACERS[kind].label : nameOf(racerId)
}

watch(
  pacer,
  ({ racerId, name }) => {
    // A name that is known already came from the service, later than the stored one.
    if (racerId !== null && !hasName(racerId)) applyNames([{ racerId, name }])
  },
  { immediate: true },
)
