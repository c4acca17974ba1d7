-- Sends the requests of a file in turn, each line a path, a tab and an access key. Prints what it saw as JSON.
local requests = {}
local at = 0

function init(args)
  local host = wrk.host .. ':' .. wrk.port
  for line in io.lines(args[1]) do
    local path, key = line:match('^(.-)\t(.*)$')
    local authorization = ''
    if key ~= '' then authorization = 'Authorization: Bearer ' .. key .. '\r\n' end
    requests[#requests + 1] = 'GET ' .. path .. ' HTTP/1.1\r\nHost: ' .. host .. '\r\n' .. authorization .. '\r\n'
  end
end

function request()
  at = at % #requests + 1
  return requests[at]
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '\nJSON {"requests":%d,"microseconds":%d,"p50":%.3f,"p99":%.3f,"refused":%d,"broken":%d}\n',
    summary.requests, summary.duration, latency:percentile(50) / 1000, latency:percentile(99) / 1000, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout))
end
