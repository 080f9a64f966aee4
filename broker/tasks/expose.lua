-- Note what a tree of tasks was given to read, and record it once. KEYS root task, audit   ARGV audit record, names of fields
if redis.call('EXISTS', KEYS[1]) == 0 then
  return
end
local is_new = false
for i = 2, #ARGV do
  if redis.call('HSETNX', KEYS[1], ARGV[i], '1') == 1 then
    is_new = true
  end
end
if is_new then
  redis.call('XADD', KEYS[2], '*', 'time', now(), 'record', ARGV[1])
end
