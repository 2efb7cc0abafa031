/** The ride in words for screen readers: twice a minute, at the start of a run of records, and at changes. */
import { ref, watch } from 'vue'

import { count, ordinal } from '../format'
import { minutes } from '../race/clock'
import { gapInWords } from '../race/pacer'
import type { PacerOnPage } from './usePacer'
import type { RaceOnPage } from './useRace'

/** Race time between announcements, in seconds. */
const INTERVAL_S = 30

export function useRideAnnouncements(
  { phase, second, sample, samples, board }: RaceOnPage,
  { gap, label }: PacerOnPage,
) {
  const announcement = ref('')
  watch(second, (at) => {
    const last = sample.value
    if (!last || phase.value !== 'riding') return
    const before = samples.value.at(-2)
    const { value: live } = board
    const place = live ? `, ${ordinal(live.rank)} of ${count(live.total)}` : ''
    if (at % INTERVAL_S === 0) {
      const pace = gap.value === null ? '' : `, ${gapInWords(gap.value, label.value)}`
      announcement.value = `${minutes(at)}: output ${Math.round(last.output)}${place}${pace}.`
    } else if (last.best !== null && last.record && before && !before.record) {
      announcement.value = `Personal record at ${minutes(at)}.`
    }
  })
  watch(phase, (now, before) => {
    if (now === 'riding') announcement.value = 'Riding.'
    else if (now === 'paused') announcement.value = 'Paused.'
    else if (now === 'done') announcement.value = 'Finished. Your result is below.'
    else if (now === 'ready' && before !== 'loading') announcement.value = 'You gave up.'
  })
  return announcement
}
