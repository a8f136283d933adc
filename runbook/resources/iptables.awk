# What iptables-save prints, or a file of its format, seen from the rules that carry one mark: "ours".
# Where `pattern` is set, a regular expression, the rules meant are those of that form instead that carry no mark.
# Reads the rules; says in `mode`, of the variables `mark`, `pattern` and `wanted` in the environment:
#   ours     our rules, one that no packet can reach behind "# out of reach: "
#   kept     our rules as lines of `wanted`, each with its place in its chain
#   others   the other rules in the chains of `wanted`
#   live     what to feed to iptables-restore --noflush, so that ours become those of `wanted`
#   file     the same text with ours become those of `wanted`; `ended` is 1 where it ends in a line end
#   survey   CHAIN/CLOSED/NEW for each chain of the kernel's in the table filter; NEW is reached by what is of one of
#            `protocols`, and to one of `ports`, two more regular expressions in the environment
# `wanted` has lines of TABLE PLACE RULE, where place 0 is to be found: before the first rule that ends the chain for
# such packets, else at its end; before the rules that log what is about to be dropped, in both cases.

# A rule in the spelling of iptables-save, as far as it matters below.
function tidy(line) {
    sub(/^\[[0-9]+:[0-9]+\] */, "", line)
    gsub(/ -m comment --comment ("([^"\\]|\\.)*"|[^ ]+)/, "", line)
    gsub(/[ \t]+/, " ", line)
    sub(/ $/, "", line)
    sub(/^--append /, "-A ", line)
    sub(/ --jump /, " -j ", line)
    sub(/ --goto /, " -g ", line)
    sub(/ --protocol /, " -p ", line)
    sub(/ --in-interface /, " -i ", line)
    return line
}

function protocol(rule) {
    return match(rule, / -p [^ ]+/) ? substr(rule, RSTART + 4, RLENGTH - 4) : "[a-z0-9-]+"
}

function port(rule) {
    return match(rule, / --dport [0-9]+/) ? substr(rule, RSTART + 9, RLENGTH - 9) : ""
}

# Where a rule sends every new packet of these protocols (a regular expression), or of those to one of `ports` (another;
# "" is none); "" where it asks for more than that.
# Traffic by the loopback apart, an interface counts for nothing: what we let in is let in wherever it arrives.
function target(rule, protocols,    words) {
    if (ports != "" && gsub(" --dports? ([0-9:]+,)*(" ports ")(,[0-9:]+)* ", " ", rule)) sub(/ -m multiport/, "", rule)
    gsub(/ -m (conntrack|state) --(ctstate|state) [A-Z,]*NEW[A-Z,]*/, "", rule)
    gsub(/ -[sd] (0\.0\.0\.0\/0|::\/0)/, "", rule)
    if (rule !~ / -i lo( |$)/) gsub(/ -i [^ ]+/, "", rule)
    gsub(" -[pm] (" protocols ")", "", rule)
    gsub(/ --syn| --tcp-flags FIN,SYN,RST,ACK SYN/, "", rule)
    if (split(rule, words, " ") < 4 || words[3] !~ /^-[jg]$/) return ""
    return words[4]
}

# Whether a rule ends its chain for new packets of these protocols; sets `refused` to whether they are dropped there.
function ends(table, rule, protocols, depth,    to) {
    to = target(rule, protocols)
    refused = to ~ /^(DROP|REJECT)$/
    if (refused || to == "RETURN") return 1
    if (to == "" || !((table, to) in size) || depth > 16) return 0
    return stops(table, to, protocols, depth + 1) || rule ~ / -g /
}

# Whether a chain of the admin's drops new packets of these protocols; sets `refused`.
function stops(table, chain, protocols, depth,    i) {
    for (i = 1; i <= size[table, chain]; i++)
        if (ends(table, tidied[table, chain, i], protocols, depth)) return refused
    return refused = 0
}

# The number of the rule that ends the chain, one behind the last where none does.
function terminal(table, chain, protocols,    i) {
    for (i = 1; i <= size[table, chain]; i++)
        if (ends(table, tidied[table, chain, i], protocols, 0)) return i
    return i
}

function place(table, chain, protocols,    i) {
    i = terminal(table, chain, protocols)
    while (i > 1 && tidied[table, chain, i - 1] ~ / -j (LOG|NFLOG|ULOG)( |$)/) i--
    return i
}

function is_ours(rule) {
    if (ENVIRON["pattern"] != "") return rule ~ ENVIRON["pattern"] && rule !~ / --comment "?ipsec-runbook:/
    return ENVIRON["mark"] != "" && rule ~ (" --comment \"?" ENVIRON["mark"] "\"? ")
}

# Take `wanted` apart, and find the places in it that are to be found.
function want(    lines, n, i, words, rule, key) {
    n = split(ENVIRON["wanted"], lines, "\n")
    for (i = 1; i <= n; i++) {
        if (lines[i] == "") continue
        wants++
        split(lines[i], words, " ")
        rule = lines[i]
        sub(/^[^ ]+ [^ ]+ /, "", rule)
        want_table[wants] = words[1]; want_place[wants] = words[2]; want_chain[wants] = words[4]; want_rule[wants] = rule
        key = words[1] SUBSEP words[4]
        if (key in through) through[key] = through[key] "|" protocol(tidy(rule))
        else through[key] = protocol(tidy(rule))
        if (port(rule) != "") to_ports[key] = to_ports[key] (to_ports[key] == "" ? "" : "|") port(rule)
        touched[words[1]] = 1
    }
    for (key in through) {
        split(key, words, SUBSEP)
        ports = to_ports[key]
        found[key] = place(words[1], words[2], through[key])
    }
}

function complain(text) {
    print text | "cat >&2"
    close("cat >&2")
    exit 65
}

function say_survey(    names, sought, i, j, last, closed, new, rule) {
    sought = ENVIRON["protocols"] == "" ? "-" : ENVIRON["protocols"]
    split("INPUT FORWARD OUTPUT", names, " ")
    for (i = 1; i <= 3; i++) {
        if (!(("filter", names[i]) in policy)) continue
        new = "-"
        # what is dropped before it gets to a chain of new connections cannot be let in there
        ports = ENVIRON["ports"]
        last = terminal("filter", names[i], sought)
        closed = policy["filter", names[i]] != "ACCEPT" || stops("filter", names[i], sought, 0)
        for (j = 1; j <= last && j <= size["filter", names[i]]; j++) {
            rule = tidied["filter", names[i], j]
            if (new == "-" && rule ~ / --(ctstate|state) NEW / && ("filter", target(rule, "-")) in policy)
                new = target(rule, "-")
        }
        ports = ""
        printf "%s%s/%d/%s", separator, names[i], closed || stops("filter", names[i], "[a-z0-9-]+", 0), new
        separator = " "
    }
    print ""
}

function say_live(    i, table, key) {
    for (table in touched) {
        printf "*%s\n", table
        for (i = 1; i <= mine; i++) if (mine_table[i] == table) print "-D" substr(mine_rule[i], 3)
        for (i = 1; i <= wants; i++) {
            if (want_table[i] != table) continue
            key = table SUBSEP want_chain[i]
            rule = want_rule[i]
            sub(/^-A [^ ]+/, "", rule)
            print "-I " want_chain[i] " " (want_place[i] ? want_place[i] : found[key] + given[key]++) rule
        }
        print "COMMIT"
    }
}

function say_file(    i, key, at, text) {
    for (i = 1; i <= wants; i++) {
        key = want_table[i] SUBSEP want_chain[i]
        if (!(want_table[i] in commit)) complain("there is no table " want_table[i] " in the file")
        text = (given[key]++ ? "" : "### " ENVIRON["mark"] " ###\n") want_rule[i] "\n"
        if (found[key] <= size[key]) {
            at = line_of[key, found[key]]
            while (line[at - 1] ~ /^[ \t]*#/ && !(at - 1 in ours)) at--
        } else at = size[key] ? line_of[key, size[key]] + 1 : commit[want_table[i]]
        before[at] = before[at] text
    }
    for (i = 1; i <= NR; i++) {
        if (i in before) printf "%s", before[i]
        if (!(i in ours)) printf "%s%s", line[i], i == NR && !ENVIRON["ended"] ? "" : "\n"
    }
}

{ line[NR] = $0 }

/^\*/ { table = substr($1, 2) }

/^:/ { policy[table, substr($1, 2)] = $2; size[table, substr($1, 2)] += 0 }

/^COMMIT/ { commit[table] = NR }

$0 == "### " ENVIRON["mark"] " ###" { ours[NR] = 1 }

/^(\[[0-9]+:[0-9]+\] *)?(-A|--append) / {
    raw = $0
    sub(/^\[[0-9]+:[0-9]+\] */, "", raw)
    split(raw, words, " ")
    chain = words[2]
    key = table SUBSEP chain
    all[key]++
    if (is_ours(raw " ")) {
        ours[NR] = 1
        mine_rule[++mine] = raw; mine_table[mine] = table; mine_chain[mine] = chain
        mine_place[mine] = all[key]; mine_behind[mine] = size[key] + 0
        touched[table] = 1
    } else {
        size[key]++
        tidied[key, size[key]] = tidy(raw); line_of[key, size[key]] = NR; other[key, size[key]] = raw
    }
}

END {
    if (mode == "ours")
        for (i = 1; i <= mine; i++) {
            ports = port(mine_rule[i])
            if (mine_table[i] != shown) print "*" (shown = mine_table[i])
            if (terminal(mine_table[i], mine_chain[i], protocol(mine_rule[i])) <= mine_behind[i])
                printf "# out of reach: "
            print mine_rule[i]
        }
    if (mode == "kept") for (i = 1; i <= mine; i++) print mine_table[i], mine_place[i], mine_rule[i]
    if (mode == "survey") say_survey()
    if (mode == "others" || mode == "live" || mode == "file") want()
    if (mode == "others") for (key in through) for (i = 1; i <= size[key]; i++) print other[key, i]
    if (mode == "live") say_live()
    if (mode == "file") say_file()
}
