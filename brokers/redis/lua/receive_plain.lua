-- A receive without a name where all that is available is new and of one priority, while nothing is due. Others are for
-- receive.lua.

if begin() and now < meta.due and ARGV[5] == '' and not meta.paused and meta.levels == 0
  and redis.call('EXISTS', base .. 'a0') == 0 then
  while has_room() and read('s0', 0, fitting()) > 0 do end
  return handed_out()
end
