# full_size.bash - sequences at the brief's full size, in tenths of the messages; read by tests/bench/run.
#
# 3,000 devices x 1,000 leads x 11 steps (COLD 5 -> WARM 4 -> HOT 2) at --scale 1; the scale takes leads
# per device. Delays are compressed so that at any scale all leads are live at once, as days would do.
# shellcheck shell=bash disable=SC2154,SC2034 # root, dir, cluster, pg come from run; devices, floor_next go there

STEPS_OF_ALL=11

full_size_content() { # delay-in-seconds
  local name step count next
  printf 'sequences:\n'
  for name in cold:5:warm warm:4:hot hot:2:; do
    IFS=: read -r name count next <<< "$name"
    printf '  %s:\n' "$name"
    if [ "$name" = cold ]; then printf '    trigger: NEW\n'; fi
    if [ -n "$next" ]; then printf '    next_sequence: %s\n' "$next"; fi
    printf '    steps:\n'
    for step in $(seq "$count"); do
      printf '      - { step: %s, delay: %ss, text: "%s %s: {{name|there}}, order {{order}} to {{city|your town}}" }\n' \
        "$step" "$([ "$step" = 1 ] && echo 0 || echo "$1")" "$name" "$step"
    done
  done
}

# ---- all partitions together ----

each() { # sql -> the answers of all partitions, a line each
  local p
  for p in $(seq "$full_nodes"); do "$pg" psql "$dir/pg" "p$p" -qAtX -F ' ' -c "$1"; done
}
total() { each "$1" | awk '{ n += $1 } END { printf "%.0f\n", n }'; }
messages_sent() { total 'SELECT coalesce(sum(messages), 0) FROM progress'; }
# Numbers that no table is read for: counters, sizes, statistics. (Applying content goes over all devices
# once, so scans of device are not counted here; tests/integration/rows_read knows of them.)
snapshot() { # -> messages live hot updated hot_bytes all_bytes dead rows scans
  each "SELECT (SELECT sum(messages) FROM progress),
      (SELECT sum(enrolled - sent - failed - expired - skipped - cancelled) FROM progress),
      n_tup_hot_upd, n_tup_upd, pg_total_relation_size('enrollment'), pg_database_size(current_database()),
      n_dead_tup, greatest(n_live_tup, 1), autovacuum_count,
      (SELECT sum(seq_tup_read) FROM pg_stat_user_tables WHERE relname IN ('enrollment', 'enrollment_end', 'lead',
        'audience', 'trigger_use') OR relname LIKE 'message%')
    FROM pg_stat_user_tables WHERE relname = 'enrollment'" |
    awk '{ for (i = 1; i <= 10; i++) n[i] += $i } END { for (i = 1; i <= 10; i++) printf "%.0f ", n[i] }'
}
node_pids() { cat "$dir"/n[0-9]*.pid; }
session_pids() { "$pg" psql "$dir/pg" p1 -qAtX -c "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'fleetcast-node/%'"; }
resident_mb() { # pids...
  local pid
  for pid in "$@"; do awk '/^Pss:/ { print $2 }' "/proc/$pid/smaps_rollup" 2> /dev/null || true; done | awk '{ n += $1 } END { printf "%.0f", n / 1024 }'
}
postgres_pids() {
  local master
  master=$(head -1 "$dir/pg/data/postmaster.pid")
  echo "$master"
  cat "/proc/$master/task/$master/children"
}

# ---- plans at size ----

# The plan that a node's session uses, of each statement of the tick and its fills: the indexes must be
# those that the schema was designed with, and nothing may be read as a whole. (No direct message here.)
declare -A designed=(
  [claim]='device_pkey enrollment_pkey lead_pkey optout_pkey source_pkey'
  [advance]='enrollment_pkey progress_pkey'
  [finish]='enrollment_end_pkey enrollment_pkey progress_pkey source_pkey'
  [refuse]='device_pkey enrollment_pkey lead_pkey optout_pkey progress_pkey source_pkey'
  [fill]='enrollment_pkey'
  [enrol_trigger]='audience_pkey device_pkey enrollment_end_pkey lead_trigger progress_pkey source_pkey'
)
plan_of() { # statement
  local sql parameters
  sql=$("$FLEETCAST_BUILD/tests/bench/statements" "$1")
  parameters=$(grep -o '\$[0-9]*' <<< "$sql" | tr -d '$' | sort -n | tail -1)
  { "$FLEETCAST_BUILD/tests/bench/statements" --settings
    printf 'PREPARE x AS %s;\nEXPLAIN (COSTS OFF) EXECUTE x(%s);\n' "$sql" "$(yes NULL | head -n "$parameters" | paste -sd,)"
  } > "$dir/plan.sql"
  "$pg" psql "$dir/pg" p1 -qAtX -f - < "$dir/plan.sql"
}
check_plans() {
  local name plan used bad=0
  each ANALYZE
  for name in "${!designed[@]}"; do
    plan=$(plan_of "$name")
    # Bitmaps name their index with "on", plain scans with "using".
    used=$(grep -oE 'Index (Only )?Scan (Backward )?(using|on) [a-z_0-9]+' <<< "$plan" | awk '{ print $NF }' | grep -v '^direct_' | sort -u | paste -sd' ')
    if [ "$used" != "${designed[$name]}" ] || grep -E 'Seq Scan on' <<< "$plan" | grep -qv 'on owner' || grep -qE 'Hash Join|Merge Join|Materialize' <<< "$plan"; then
      printf 'full-size: the plan of %s is not the designed one (it uses: %s)\n%s\n' "$name" "$used" "$plan" >&2
      bad=1
    fi
  done
  [ $bad = 0 ] && echo "         plans of ${!designed[*]}: designed indexes only, nothing read as a whole"
}

# ---- the run ----

full_size_start() { # devices leads provider
  local p names=()
  # Opt-outs of others: what a claim looks into.
  each "INSERT INTO optout(account, phone, number) SELECT 'main', 99000000000 + n, n FROM generate_series(1, 20000) n"
  for p in $(seq "$full_nodes"); do names+=("n$p"); done
  [ "$3" = fake ] && "$cluster" start "$dir" provider
  "$cluster" start "$dir" c1 "${names[@]}"
  "$cluster" settled "$dir" "$full_nodes"
  local transport=null low=1 high=1
  # With the witness the devices keep a pace that it can check.
  [ "$3" = fake ] && transport=cloudapi low=200 high=600
  "$FLEETCAST_BUILD/tests/support/generate" --devices "$1" --leads "$2" --min-delay $low --max-delay $high --transport $transport --dir "$dir"
  full_size_content "$full_delay" > "$dir/content.yaml"
  fleetcast import devices "$dir/devices.csv" > /dev/null
  fleetcast import leads "$dir/leads.csv" > /dev/null
  fleetcast apply-content "$dir/content.yaml" > /dev/null
  for p in $(seq "$full_nodes"); do "$pg" psql "$dir/pg" "p$p" -qAtX -c 'VACUUM ANALYZE' > /dev/null; done
}

measure() { # -> "wal sessions-cpu nodes-cpu now"
  # shellcheck disable=SC2046
  echo "$(wal) $(cpu_of $(session_pids)) $(cpu_of $(node_pids)) ${EPOCHREALTIME/./}"
}

tenth() { # number, "figures before", "figures after", "rows before", "rows after"
  # shellcheck disable=SC2086
  set -- "$1" $2 $3 $4 $5
  # 2-5 before: wal cpu node now; 6-9 after; 10-19 rows before; 20-29 rows after
  local n=$((${20} - ${10}))
  [ $n -gt 0 ] || n=1
  cpu_now=$(calc %.1f "(${7} - ${3}) / $n") wal_now=$(calc %.0f "(${6} - ${2}) / $n")
  local live=${21} hot updated
  hot=$((${22} - ${12})) updated=$((${23} - ${13}))
  # shellcheck disable=SC2046
  printf '%6s0 %% %9s msgs %7s/s   PG %6s us  node %5s us  WAL %5s B   live %8s  HOT %5s %%  hot table %6s MB  dead %4s %%  connections %3s  nodes %4s MB  PG %5s MB\n' \
    "$1" "${20}" "$(calc %.0f "$n * 1000000 / (${9} - ${5})")" "$cpu_now" "$(calc %.1f "(${8} - ${4}) / $n")" "$wal_now" "$live" \
    "$(calc %.1f "$hot * 100 / ($updated + 1e-9)")" "$(calc %.1f "${24} / 1048576")" "$(calc %.0f "${26} * 100 / (${26} + ${27})")" \
    "$(session_pids | wc -l)" "$(resident_mb $(node_pids))" "$(resident_mb $(postgres_pids))"
  [ "$live" -le "$live_most" ] || live_most=$live
}

progress_line() { # done all began
  local passed=$(((${EPOCHREALTIME/./} - $3) / 1000000))
  [ -t 2 ] || return 0
  printf '\r  %s of %s messages, %s s, ETA %s s   ' "$1" "$2" "$passed" "$(calc %.0f "($2 - $1) * $passed / ($1 + 1)")" >&2
}

run_tenths() { # all
  local all=$1 k before after rows_before rows_after began=${EPOCHREALTIME/./} last=0 last_at=$SECONDS n
  before=$figures_first rows_before=$rows_first
  for k in $(seq 10); do
    until n=$(messages_sent) && [ "$n" -ge $((all * k / 10)) ]; do
      progress_line "$n" "$all" "$began"
      if [ "$n" != "$last" ]; then last=$n last_at=$SECONDS; fi
      [ $((SECONDS - last_at)) -lt 120 ] || { echo "full-size: no message for 120 s, $n of $all" >&2; return 1; }
      pause 0.2
    done
    after=$(measure) rows_after=$(snapshot)
    tenth "$k" "$before" "$after" "$rows_before" "$rows_after"
    if [ "$k" = 1 ]; then cpu_first=$cpu_now wal_first=$wal_now; fi
    before=$after rows_before=$rows_after
  done
  figures_last=$after rows_last=$rows_after
}

full_size_floor() { # devices leads
  local per=$(($1 / full_nodes)) n
  "$pg" psql "$dir/pg" p1 -qAtX -c "CREATE TABLE f2_enrollment (LIKE enrollment INCLUDING ALL) WITH (fillfactor = 80);
    INSERT INTO f2_enrollment(device_id, source_id, lead_no, due_at) SELECT d, 1, l, now() FROM generate_series(1, $per) d, generate_series(1, $2) l ORDER BY 1, 3;
    CREATE TABLE f2_log (LIKE message); CREATE INDEX ON f2_log(token); ANALYZE f2_enrollment"
  devices=$per floor_next=0
  n=$((per * $2 < 30000 ? per * $2 : 30000))
  floor_round "$full_batch" $((n / full_batch * full_batch)) 2 0
  "$pg" psql "$dir/pg" p1 -qAtX -c 'DROP TABLE f2_enrollment, f2_log'
}

full_size_end() { # provider all
  fleetcast verify > "$dir/verify.out" || { cat "$dir/verify.out"; return 1; }
  [ "$1" = fake ] || return 0
  fleetcast export messages --out "$dir/messages.csv" > /dev/null
  "$FLEETCAST_BUILD/tests/support/audit" --devices "$dir/devices.csv" --leads "$dir/leads.csv" --content "$dir/content.yaml" \
    --messages "$dir/messages.csv" --receipts "$dir/receipts.log" --exactly-once > "$dir/audit.out" 2>&1 || { cat "$dir/audit.out"; return 1; }
  echo "         audit: $(tr -s ' \n' ' ' < "$dir/audit.out")"
}

bench_full_size() { # options
  local scale=0.003 provider=null devices_all=3000 data="" leads all name live_most=0
  full_nodes=3 full_batch=64
  while [ $# -gt 0 ]; do
    case $1 in
    --scale) scale=$2 ;;
    --provider) provider=$2 ;;
    --nodes) full_nodes=$2 ;;
    --devices) devices_all=$2 ;;
    --data) data=$2 ;;
    *) echo "bench full-size: no such option: $1 (--scale, --provider null|fake, --nodes, --devices, --data DIR)" >&2; return 2 ;;
    esac
    shift 2
  done
  leads=$(calc %.0f "1000 * $scale")
  [ "$leads" -ge 1 ] || leads=1
  full_delay=$(calc %.0f "300 * $scale + 0.5")
  all=$((devices_all * leads * STEPS_OF_ALL))
  printf 'full-size %s devices x %s leads x %s steps = %s messages, %s nodes, provider %s, %s s between steps\n' \
    "$devices_all" "$leads" "$STEPS_OF_ALL" "$all" "$full_nodes" "$provider" "$full_delay"
  [ -z "$data" ] || mkdir -p "$data"
  dir=$(mktemp -d "${data:-/tmp}/fleetcast-bench.XXXX")
  chmod 755 "$dir"
  "$cluster" make "$dir" --nodes "$full_nodes" --provider "$([ "$provider" = fake ] && echo ours || echo none)" > "$dir/make.log" 2>&1
  full_size_start "$devices_all" "$leads" "$provider"
  full_size_floor "$devices_all" "$leads"
  for name in hot warm; do fleetcast sequence start $name > /dev/null; done
  figures_first=$(measure) rows_first=$(snapshot)
  fleetcast sequence start cold > /dev/null
  run_tenths "$all"
  full_size_sum
  check_plans
  full_size_end "$provider" "$all"
  down
}

full_size_sum() {
  local a b r q n
  # shellcheck disable=SC2206
  a=($figures_first) b=($figures_last) r=($rows_first) q=($rows_last)
  n=$((q[0] - r[0]))
  printf 'full-size %s messages in %s s (%s/s): CPU %s us, WAL %s B, disk %s B a message; floor F2 of this run %s us, %s B\n' "$n" \
    "$(calc %.0f "(${b[3]} - ${a[3]}) / 1e6")" "$(calc %.0f "$n * 1e6 / (${b[3]} - ${a[3]})")" "$(calc %.1f "(${b[1]} - ${a[1]}) / $n")" \
    "$(calc %.0f "(${b[0]} - ${a[0]}) / $n")" "$(calc %.0f "(${q[5]} - ${r[5]}) / $n")" "$floor_cpu" "$floor_wal"
  printf '         live rows at most %s; HOT %s %%; last tenth / first: CPU %s, WAL %s (wanted <= 1.15); vacuums of the hot tables %s, dead rows %s %%\n' "$live_most" \
    "$(calc %.1f "(${q[2]} - ${r[2]}) * 100 / (${q[3]} - ${r[3]} + 1e-9)")" "$(calc %.2f "$cpu_now / $cpu_first")" "$(calc %.2f "$wal_now / $wal_first")" \
    "$((q[8] - r[8]))" "$(calc %.0f "${q[6]} * 100 / (${q[6]} + ${q[7]})")"
  [ "${q[9]}" = "${r[9]}" ] || { echo "full-size: $((q[9] - r[9])) rows were read by sequential scans" >&2; return 1; }
  echo "         rows read by sequential scans of tables that grow: 0"
}
