-- Posts the file BODY with the headers in HEADERS (NAME: VALUE, one a line), each time for another of 1,000 users.
local file = io.open(os.getenv("BODY"))
local body = file:read("*a")
local headers = { ["content-type"] = "application/json" }
for line in (os.getenv("HEADERS") or ""):gmatch("[^\n]+") do
  local name, value = line:match("^(.-):%s*(.*)$")
  headers[name] = value
end
local count = 0

function request()
  count = count + 1
  headers["x-modelramp-subject"] = "user-" .. count % 1000
  return wrk.format("POST", nil, headers, body)
end
