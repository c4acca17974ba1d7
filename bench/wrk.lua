-- Sends the requests of a file in turn, each line a path, an access key and a body, with tabs between: one with a body is a POST.
-- Prints what it saw as JSON.
local requests = {}
local at = 0

function init(args)
  local host = wrk.host .. ':' .. wrk.port
  for line in io.lines(args[1]) do
    local path, key, body = line:match('^(.-)\t(.-)\t(.*)$')
    local authorization = ''
    if key ~= '' then authorization = 'Authorization: Bearer ' .. key .. '\r\n' end
    local method = 'GET '
    local content = ''
    if body ~= '' then
      method = 'POST '
      content = 'Content-Type: application/json\r\nContent-Length: ' .. #body .. '\r\n'
    end
    requests[#requests + 1] = method .. path .. ' HTTP/1.1\r\nHost: ' .. host .. '\r\n' .. authorization .. content
      .. '\r\n' .. body
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
