-- For wrk: an optional upload of so many bytes, and a summary as one line of JSON.
--   wrk ... -s wrk.lua URL -- [BYTES]

function init(args)
  local bytes = tonumber(args[1] or "0")
  if bytes > 0 then
    wrk.method = "POST"
    wrk.body = string.rep("x", bytes)
  end
end

function done(summary, latency)
  local e = summary.errors
  print(string.format('{"requests": %d, "failed": %d, "p99": %.6f, "bytes": %.0f}',
    summary.requests, e.connect + e.read + e.write + e.status, latency:percentile(99) / 1e6, summary.bytes))
end
