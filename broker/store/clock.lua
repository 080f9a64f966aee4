-- The only clock in scripts, in milliseconds since the Unix epoch. The loader puts it before every script.
local function now()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end
