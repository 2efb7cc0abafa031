/** Numbers, times and names as people read them. */

const two = new Intl.NumberFormat('en', { minimumFractionDigits: 2, maximumFractionDigits: 2 })
const share = new Intl.NumberFormat('en', {
  minimumFractionDigits: 1,
  maximumFractionDigits: 1,
  roundingMode: 'floor',
})
const whole = new Intl.NumberFormat('en')
const moment = new Intl.DateTimeFormat(undefined, {
  day: 'numeric',
  month: 'short',
  hour: '2-digit',
  minute: '2-digit',
})
const time = new Intl.DateTimeFormat(undefined, { timeStyle: 'medium' })
const day = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'short', year: 'numeric' })
const ordinals = new Intl.PluralRules('en', { type: 'ordinal' })
const SUFFIXES: Record<string, string> = { one: 'st', two: 'nd', few: 'rd' }

/** A character that leaves a mark. U+2800 is the empty pattern of Braille, which Unicode does not count as blank. */
const VISIBLE = /[^\p{White_Space}\p{Default_Ignorable_Code_Point}\p{Control}\u2800]/u

/** Returns an output: `187.25`. It has no unit. */
export function outputText(output: number): string {
  return two.format(output)
}

/** Returns a percentage: `99.9 %`. It is rounded down: also the first racer is ahead of less than 100 % of the racers. */
export function percentText(percentage: number): string {
  return `${share.format(percentage)}\u00a0%`
}

/** Returns a count: `40,000`. */
export function countText(value: number): string {
  return whole.format(value)
}

/** Returns a number with its noun: `1 racer`, `40,000 racers`. */
export function quantity(value: number, noun: string): string {
  return `${countText(value)} ${noun}${value === 1 ? '' : 's'}`
}

/** Returns how many seconds wait: `1 second waits to be sent.` */
export function waitingText(seconds: number): string {
  return `${quantity(seconds, 'second')} ${seconds === 1 ? 'waits' : 'wait'} to be sent.`
}

/** Text after `waitingText` where only the page keeps those seconds. */
export const UNSTORED_TEXT =
  'This browser cannot store them: keep the page open until they are sent.'

/** Returns of when a board of a ride is: `As of the ride’s start.` */
export function asOfText(asOfStart: boolean): string {
  return `As of ${asOfStart ? 'the ride’s start' : 'when you rode this second'}.`
}

/** Returns a difference with its sign: `+3.20`, `−0.50`. */
export function signed(difference: number): string {
  const text = two.format(Math.abs(difference))
  return Number(text.replaceAll(',', '')) === 0 ? '±0.00' : difference > 0 ? `+${text}` : `−${text}`
}

/** Returns an age in its coarsest unit: `5 min ago`. */
export function ago(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1000))
  if (seconds < 5) return 'just now'
  if (seconds < 60) return `${seconds} s ago`
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ago`
  return `${Math.floor(seconds / 86_400)} d ago`
}

/** Returns date and time of day, as the device writes them: `29 Nov, 14:05`. */
export function dateAndTime(ms: number): string {
  return moment.format(ms)
}

/** Returns a time of day, as the device writes it: `14:05:07`. */
export function timeText(ms: number): string {
  return time.format(ms)
}

/** Returns a date, as the device writes it: `29 Nov 2026`. */
export function dateText(ms: number): string {
  return day.format(ms)
}

/** Returns a name for text without markup, isolated so that its direction does not affect its neighbours. */
export function isolated(name: string): string {
  return `\u2068${name}\u2069`
}

/**
 * Returns a name without blanks around it; empty if none of its characters is visible. Invisible characters inside a name
 * stay: emoji and many languages need them.
 */
export function visibleName(name: string): string {
  return VISIBLE.test(name) ? name.trim() : ''
}

/** Returns a rank in words: `1st`, `22nd`, `113th`. */
export function ordinal(rank: number): string {
  return `${whole.format(rank)}${SUFFIXES[ordinals.select(rank)] ?? 'th'}`
}
