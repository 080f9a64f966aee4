-- Refuse from now on what was decided at an earlier place of the log. KEYS floor   ARGV epoch, number
local epoch, seq = string.match(redis.call('GET', KEYS[1]) or '', '^(%S+) (%d+)$')
if not epoch or epoch < ARGV[1] or (epoch == ARGV[1] and tonumber(seq) < tonumber(ARGV[2])) then
  redis.call('SET', KEYS[1], ARGV[1] .. ' ' .. ARGV[2])
end
