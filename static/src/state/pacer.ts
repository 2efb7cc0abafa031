/** The pacer that this device rides against. */
import { useStorage } from '@vueuse/core'
import { watch } from 'vue'

import { NO_PACER, parsePacer, PACERS, type PacerChoice } from '../race/pacer'
import { applyStoredNames, nameOf } from './names'

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
    if (racerId !== null) applyStoredNames([{ racerId, name }])
  },
  { immediate: true },
)
