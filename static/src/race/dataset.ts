/** The history of a class, as the service returns it: `{"<second>":{"<racerId>":output}}`. */
export type Dataset = Record<string, Record<string, number>>

/** A racer's best at a second. */
export interface Effort {
  racerId: number
  output: number
}

/** Compares in the order of every board: by output descending, then by racer id ascending. */
export function byOutput(a: Effort, b: Effort): number {
  return b.output - a.output || a.racerId - b.racerId
}

/** A class's history by second. A second is sorted when it is first read. */
export class History {
  readonly #dataset: Dataset
  readonly #columns = new Map<number, readonly Effort[]>()

  constructor(dataset: Dataset) {
    this.#dataset = dataset
  }

  /** Returns the efforts of a second, best first. */
  at(second: number): readonly Effort[] {
    let column = this.#columns.get(second)
    if (!column) {
      const entries = Object.entries(this.#dataset[second] ?? {})
      column = entries.map(([racer, output]) => ({ racerId: Number(racer), output })).sort(byOutput)
      this.#columns.set(second, column)
    }
    return column
  }

  /** Returns a racer's best at a second. */
  best(second: number, racerId: number): number | null {
    return this.#dataset[second]?.[racerId] ?? null
  }

  /** Returns a racer's best at each second where there is one. */
  curve(racerId: number): Map<number, number> {
    const curve = new Map<number, number>()
    for (const second of this.seconds()) {
      const best = this.best(second, racerId)
      if (best !== null) curve.set(second, best)
    }
    return curve
  }

  /** Returns the class record at each second where there is one. */
  classRecords(): Map<number, Effort> {
    const records = new Map<number, Effort>()
    for (const second of this.seconds()) {
      let first: Effort | null = null
      for (const [racer, output] of Object.entries(this.#dataset[second] ?? {})) {
        const effort = { racerId: Number(racer), output }
        if (!first || byOutput(effort, first) < 0) first = effort
      }
      if (first) records.set(second, first)
    }
    return records
  }

  /** Returns the seconds that anyone rode, ascending. */
  seconds(): number[] {
    return Object.keys(this.#dataset)
      .map(Number)
      .sort((a, b) => a - b)
  }
}
