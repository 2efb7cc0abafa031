/** The ride in words for screen readers: twice a minute, at the start of a run of records, and at changes. */
import { ref, watch } from 'vue'

import { count, ordinal } from '../format'
import { minutes } from '../race/clock'
import { gapInWords } from '../race/pacer'
import type { Sample } from '../race/ride'
import type { PacerOnPage } from './usePacer'
import type { RaceOnPage } from './useRace'

/** Race time between announcements, in seconds. */
const INTERVAL_S = 30

export function useRideAnnouncements(
  { phase, second, sample, samples }: RaceOnPage,
  pacer: PacerOnPage,
) {
  const announcement = ref('')
  watch(second, (at) => {
    const last = sample.value
    if (!last || phase.value !== 'riding') return
    const before = samples.value.at(-2)
    // A second later: its rank is known by then, unless the service is slow.
    if (before && (at - 1) % INTERVAL_S === 0) {
      announcement.value = summaryOf(before)
    } else if (last.best !== null && last.record && before && !before.record) {
      announcement.value = `Personal record at ${minutes(at)}.`
    }
  })
  function summaryOf({ second, output, rank, total }: Sample): string {
    const place = rank === null || total === null ? '' : `, ${ordinal(rank)} of ${count(total)}`
    const other = pacer.at(second)
    const gap = other === null ? '' : `, ${gapInWords(output - other, pacer.label.value)}`
    return `${minutes(second)}: output ${Math.round(output)}${place}${gap}.`
  }

  watch(phase, (now, before) => {
    if (now === 'riding') announcement.value = 'Riding.'
    else if (now === 'paused') announcement.value = 'Paused.'
    else if (now === 'done') announcement.value = 'Finished. Your result is below.'
    else if (now === 'ready' && before !== 'loading') announcement.value = 'You gave up.'
  })
  return announcement
}
