# size.bash - memory of a node by devices, and lateness while others import; read by tests/bench/run.
# shellcheck shell=bash disable=SC2154 # dir and cluster come from run

node_kb() { awk '/VmRSS/ { print $2 }' "/proc/$(node_pid)/status"; }

# Until the node's memory has not changed for two seconds.
memory_settled() {
  local before=0 now same=0
  while [ $same -lt 10 ]; do
    pause 0.2
    now=$(node_kb)
    if [ "$now" = "$before" ]; then same=$((same + 1)); else same=0; fi
    before=$now
  done
}

# Devices whose rows are due tomorrow: a fill holds as many of them as of rows that are due.
memory_devices() { # first last live
  sql "INSERT INTO device(device_id, min_delay_ms, max_delay_ms, transport, address) SELECT d, 5000, 15000, 'null', 'a' || d FROM generate_series($1, $2) d;
    INSERT INTO enrollment(device_id, source_id, lead_no, due_at) SELECT d, 1, l, now() + interval '1 day' FROM generate_series($1, $2) d, generate_series(1, $3) l ORDER BY 1, 3;
    SELECT pg_stat_reset()" > /dev/null
}
memory_of() { # rows -> KiB of a node that has read them all
  "$cluster" start "$dir" n1
  until [ "$(sql 'SELECT idx_tup_fetch FROM pg_stat_user_tables WHERE relname = '"'enrollment'")" -ge "$1" ]; do pause 0.2; done
  memory_settled
  node_kb
}

# The fixed base is a node with 128 such devices, as many as one fill asks for: its buffers are warm.
memory_once() { # devices live
  local base kb listed
  up --provider none
  "$cluster" start "$dir" c1 n1
  "$cluster" settled "$dir" 1
  "$cluster" stop "$dir" n1
  sql "INSERT INTO source(source_id, kind, state, content_version, started_version, started_at, name, item) VALUES
      (1, 1, 0, 1, 1, now(), 'spring', '{\"kind\":\"campaign\",\"name\":\"spring\",\"template\":\"hello\"}');
    INSERT INTO template VALUES ('hello', 1, '{\"kind\":\"template\",\"name\":\"hello\",\"text\":\"Hi\"}');
    INSERT INTO progress(source_id, audience, enrolled) VALUES (1, $1::bigint * $2, $1::bigint * $2)" > /dev/null
  memory_devices 1 128 "$2"
  base=$(memory_of $((128 * $2)))
  "$cluster" stop "$dir" n1
  memory_devices 129 "$1" "$2"
  kb=$(memory_of $(($1 * $2)))
  listed=$(($2 / 10 > 100 ? $2 / 10 : 100))
  [ $listed -le 512 ] || listed=512
  printf 'memory   %6s devices x %5s live (%3s in memory): node %6s MB, base %s MB: %s KiB a device (wanted <= %s)\n' "$1" "$2" "$listed" \
    "$(calc %.1f "$kb / 1024")" "$(calc %.1f "$base / 1024")" "$(calc %.2f "($kb - $base) / ($1 - 128)")" "$([ "$2" -le 1000 ] && echo 4 || echo 16)"
  down
}

bench_memory() { # [devices:live ...]
  local spec
  # More than 100 rows of a device are not in memory at 1,000 live: so fewer live rows, loaded sooner, show the same.
  [ $# -gt 0 ] || set -- 3000:1000 500:6000 30000:100 100000:100
  for spec in "$@"; do memory_once "${spec%:*}" "${spec#*:}"; done
}

# ---- lateness beside an import ----

stride() { # restarts the node: it finds its devices in their stride, and its lateness counts from here
  "$cluster" stop "$dir" n1
  "$cluster" start "$dir" n1
  until_sent $(($(sent) + 3000)) 60
}

bench_beside() { # seconds
  local seconds=${1:-25} quiet p99 rows name
  up --provider ours
  "$cluster" start "$dir" provider c1 n1
  load 3000 $((seconds / 25 + 2)) 5000 15000 cloudapi 2
  # 100,000 leads more for the same devices; their trigger enrols them at once.
  "$FLEETCAST_BUILD/tests/support/generate" --devices 3000 --leads 34 --dir "$dir/n1" > /dev/null
  sed 's/,+601/,+602/' "$dir/n1/leads.csv" > "$dir/more.csv"
  for name in hot warm cold; do fleetcast sequence start $name > /dev/null; done
  until_sent 3000 60
  stride
  pause "$seconds"
  # shellcheck disable=SC2046
  set -- $(lateness)
  quiet="p50 $1 p99 $2 max $3 ms" p99=$2
  stride
  rows=$(enrolled)
  local began=$SECONDS
  fleetcast import leads "$dir/more.csv" > "$dir/import.out"
  # Each device enrols ahead what it can send soon; the rest waits for its turn. That is the end.
  local before=-1000 now=0
  until [ $((now - before)) -lt 400 ] || [ $((SECONDS - began)) -ge 120 ]; do
    before=$now
    pause 1
    now=$(enrolled)
  done
  rows=$(($(enrolled) - rows))
  # shellcheck disable=SC2046
  set -- $(lateness)
  printf 'beside   3,000 devices at 5-15 s: lateness %s; while 102,000 leads are imported and %s enrolled in %s s: p50 %s p99 %s max %s ms: %s ms above (wanted <= 50)\n' \
    "$quiet" "$rows" "$((SECONDS - began))" "$1" "$2" "$3" "$(calc %.1f "$2 - $p99")"
  down
}
