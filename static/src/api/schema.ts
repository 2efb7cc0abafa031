/** The API's paths, by hand, until they are generated from openapi/openapi.json. */
export interface components {
  schemas: {
    Class: {
      classId: number
      name: string
      racers: number
      seconds: number
      efforts: number
      updatedAt: number | null
      historyBytes: number
      stateHash: string
    }
    Standing: { rank: number; racerId: number; name: string | null; output: number; second?: number; newRecord?: boolean }
    Leaderboard: {
      classId: number
      second: number | null
      total: number
      standings: components['schemas']['Standing'][]
      next: string | null
      previous: string | null
    }
    Point: { second: number; output: number; rank: number; total: number; percentile: number }
    Curve: { racerId: number; name: string | null; seconds: components['schemas']['Point'][] }
    RacerInClass: components['schemas']['Curve'] & { classId: number; compared?: components['schemas']['Curve'][] }
    Found: { racerId: number; name: string }
    Problem: { status: number; title: string; detail: string }
  }
}
type Answer<T> = {
  responses: { 200: { headers: object; content: { 'application/json': T } }; 404: { headers: object; content: { 'application/problem+json': components['schemas']['Problem'] } } }
}
export interface paths {
  '/classes': { get: { parameters: object } & Answer<components['schemas']['Class'][]> }
  '/classes/{classId}/leaderboard': {
    get: {
      parameters: {
        path: { classId: number }
        query?: { second?: string; limit?: number; cursor?: string; around?: number; racers?: string; racerId?: number; output?: number }
      }
    } & Answer<components['schemas']['Leaderboard']>
  }
  '/classes/{classId}/racers/{racerId}': {
    get: { parameters: { path: { classId: number; racerId: number }; query?: { compare?: string } } } & Answer<components['schemas']['RacerInClass']>
  }
  '/racers': { get: { parameters: { query: { name: string } } } & Answer<components['schemas']['Found'][]> }
}
