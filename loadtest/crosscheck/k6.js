// A cross-check of `springtide loadtest` with k6: acknowledgements at a rate that
// follows the shape of an office day.
//
//   go install go.k6.io/k6@v1.8.1
//   springtide dev --data D
//   springtide loadtest returns --count 40000 --seed 6 > returns.json
//   k6 run -e KEY=$(cat D/dev.key) -e RETURNS=$PWD/returns.json loadtest/crosscheck/k6.js
//
// What it cannot measure: whether a filing reached the authority, how often, and
// when; what a client was told afterwards; a request from the moment it should have
// left (an iteration that cannot start in time is dropped and only counted); what the
// run cost. Messages go through JSON, so k6 itself needs more of the processor than
// the front door does: on a shared machine its figures are upper bounds.
import grpc from 'k6/net/grpc';
import { check } from 'k6';
import { SharedArray } from 'k6/data';
import { scenario } from 'k6/execution';

const returns = new SharedArray('returns', () => JSON.parse(open(__ENV.RETURNS)));
const client = new grpc.Client();
const peak = Number(__ENV.PEAK || 200);

export const options = {
  scenarios: {
    day: {
      executor: 'ramping-arrival-rate',
      startRate: 1,
      timeUnit: '1s',
      preAllocatedVUs: 200,
      maxVUs: 2000,
      stages: [0.03, 0.9, 1, 0.3, 0.8, 0.9, 0.5, 0.1].map((share) => ({ target: Math.ceil(peak * share), duration: '15s' })),
    },
  },
  summaryTrendStats: ['med', 'p(90)', 'p(99)', 'max'],
  thresholds: {
    checks: ['rate==1'],
    dropped_iterations: ['count==0'],
    grpc_req_duration: ['p(99)<250'],
  },
};

let connected = false;

export default function () {
  if (!connected) {
    client.connect(__ENV.TARGET || '127.0.0.1:7070', { plaintext: true, reflect: true });
    connected = true;
  }
  const request = returns[scenario.iterationInTest % returns.length];
  const response = client.invoke('springtide.v1.FilingService/SubmitFiling', request, {
    metadata: { authorization: `Bearer ${__ENV.KEY}` },
    timeout: '10s',
  });
  check(response, { acknowledged: (r) => r && r.status === grpc.StatusOK });
}
