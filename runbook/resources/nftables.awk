# What `nft -s -t -a list ruleset` prints, or a script of nft's, seen from the rules that carry one mark: "ours".
# Reads it; says in `mode`, of the variables `mark` and `wanted` in the environment:
#   ours     our rules, one that no packet can reach behind "# out of reach: "
#   kept     our rules as lines of `wanted`, each with its place in its chain
#   others   the other rules in the chains of `wanted`
#   live     what to feed to nft -f, so that ours become those of `wanted`
#   file     the same text with ours become those of `wanted`; `ended` is 1 where it ends in a line end
#   survey   FAMILY TABLE CHAIN HOOK CLOSED NEW; for each chain that filters at a hook of IP; NEW is reached by what is
#            of one of `protocols`, and to one of `ports`, two more regular expressions in the environment
# `wanted` has lines of FAMILY:TABLE:CHAIN PLACE RULE. PLACE is the number of the other rule that it goes before; where it
# is 0, that is to be found: the first rule that ends the chain for such packets, else none; the rules that log what is
# about to be dropped stay beside that one, in both cases.

# A rule as nft prints it, as far as it matters below.
function tidy(rule) {
    gsub(/[ \t]+/, " ", rule)
    sub(/^ /, "", rule)
    sub(/ $/, "", rule)
    return rule
}

# Where a rule sends every new packet of these protocols (a regular expression); "" where it asks for more than that.
# Traffic by the loopback apart, an interface counts for nothing, nor does the family: it is better to stand too early.
# A rule for one of `ports` (a regular expression; "" is none) counts as one for all packets.
function target(rule, protocols,    words) {
    rule = rule " "
    if (ports != "")
        gsub("(" protocols "|th) dport ((" ports ")|\\{ ([0-9a-z-]+, )*(" ports ")(, [0-9a-z-]+)* \\}) ", "", rule)
    gsub(/comment "[^"]*" /, "", rule)
    if (match(rule, /^ct state vmap \{.*[ {]new : [a-z]+( [^ ,}]+)?/)) {
        rule = substr(rule, 1, RLENGTH) " "
        sub(/.*[ {]new : /, "", rule)
    }
    gsub(/log ((prefix "[^"]*"|flags [^ ]+|level [^ ]+|group [^ ]+|snaplen [^ ]+|queue-threshold [^ ]+) )*/, "", rule)
    gsub(/counter ((packets|bytes|name) [^ ]+ )*/, "", rule)
    gsub(/ct state (([a-z]+,)*new(,[a-z]+)*|\{[^}]*new[^}]*\}) /, "", rule)
    gsub(/meta nfproto (ipv4|ipv6) /, "", rule)
    if (rule !~ /iif(name)? "?lo"? /) gsub(/(meta )?iif(name)? (!= )?(\{[^}]*\}|[^ ]+) /, "", rule)
    gsub(/(meta )?iif(name)? != "?lo"? /, "", rule)
    gsub("(meta l4proto|ip protocol|ip6 nexthdr) ([{][^}]*)?(" protocols ")[^ }]*([^}]*[}])? ", "", rule)
    gsub(/tcp flags [^ ]+ ((\/|==|!=) [^ ]+ )?/, "", rule)
    gsub(/(meta )?pkttype (host|unicast) |fib daddr type local /, "", rule)
    if (rule !~ /^(accept|drop|reject|return|queue|jump|goto) /) return ""
    split(rule, words, " ")
    return words[1] ~ /^(jump|goto)$/ ? words[1] " " words[2] : words[1]
}

# Whether a rule ends its chain for new packets of these protocols; sets `refused` to whether they are dropped there.
function ends(key, rule, protocols, depth,    to, words) {
    to = target(rule, protocols)
    refused = to ~ /^(drop|reject)$/
    if (refused || to == "return") return 1
    if (to !~ / / || depth > 16) return 0
    split(to, words, " ")
    return stops(table_of(key) ":" words[2], protocols, depth + 1) || words[1] == "goto"
}

# Whether a chain drops new packets of these protocols; sets `refused`.
function stops(key, protocols, depth,    i) {
    for (i = 1; i <= size[key]; i++) if (ends(key, other[key, i], protocols, depth)) return refused
    return refused = 0
}

# The number of the rule that ends the chain, one behind the last where none does.
function terminal(key, protocols,    i) {
    for (i = 1; i <= size[key]; i++) if (ends(key, other[key, i], protocols, 0)) return i
    return i
}

function table_of(key) {
    sub(/:[^:]*$/, "", key)
    return key
}

function place(key, protocols,    i) {
    i = terminal(key, protocols)
    while (i > 1 && other[key, i - 1] ~ /(^| )(log|counter)( |$)/ && target(other[key, i - 1] " drop", ".") == "drop") i--
    return i
}

# The protocol that a rule of ours speaks of, as a regular expression.
function protocol(rule) {
    if (match(rule, /(tcp|udp|sctp) dport/)) return substr(rule, RSTART, RLENGTH - 6)
    return match(rule, /l4proto [^ ]+/) ? substr(rule, RSTART + 8, RLENGTH - 8) : "[a-z0-9-]+"
}

function port(rule) {
    return match(rule, /dport [0-9]+/) ? substr(rule, RSTART + 6, RLENGTH - 6) : ""
}

# What has been read up to the end of a statement.
function statement(    words) {
    said = tidy(said)
    if (kind[depth] == "chain" && said ~ /^(type|policy) /) {
        split(said, words, " ")
        if (words[1] == "policy") policy[name[depth]] = words[2]
        else if (words[2] == "filter" && words[4] ~ /^(input|forward|output)$/) hook[name[depth]] = words[4]
    } else if (kind[depth] == "chain" && said !~ /^(comment .*|devices? .*|flags .*)?$/) keep_rule(name[depth])
    said = ""
}

function keep_rule(key,    i) {
    if (ENVIRON["mark"] != "" && index(said " ", "comment \"" ENVIRON["mark"] "\" ")) {
        for (i = begun; i <= NR; i++) ours[i] = 1
        mine_rule[++mine] = said; mine_key[mine] = key; mine_behind[mine] = size[key] + 0
        if (remark ~ /^# handle /) script = script "delete rule " spaced(key) substr(remark, 2) "\n"
    } else {
        other[key, ++size[key]] = said; line_of[key, size[key]] = begun
        handle[key, size[key]] = remark ~ /^# handle / ? substr(remark, 10) : ""
    }
}

function spaced(key) {
    gsub(/:/, " ", key)
    return key
}

# Whether what has been said opens a block of its own, and no set inside a rule.
function opens(    text, words, n) {
    text = tidy(said)
    n = split(text, words, " ")
    if (depth == 0 && text ~ /^((add|create) )?table /) {
        kind[++depth] = "table"
        name[depth] = (words[n - 1] == "table" ? "ip" : words[n - 1]) ":" words[n]
    } else if (kind[depth] == "table" && text ~ /^chain /) {
        kind[depth + 1] = "chain"
        name[depth + 1] = name[depth] ":" words[2]
        if (!(name[++depth] in size)) { size[name[depth]] = 0; chains[++count] = name[depth] }
    } else if (kind[depth] == "table") kind[++depth] = "other"
    else return 0
    said = ""
    return 1
}

function closes(before) {
    if (kind[depth] == "chain") {
        closing[name[depth]] = NR
        alone[name[depth]] = before ~ /^[ \t]*$/
        indent[name[depth]] = before
    }
    if (depth > 0) depth--
}

# Take a line apart: statements, blocks, remarks; a statement may go on in the next line.
function take(text,    i, c, goes_on) {
    remark = match(text, /# handle [0-9]+$/) ? substr(text, RSTART) : ""
    for (i = 1; i <= length(text); i++) {
        c = substr(text, i, 1)
        if (said == "") begun = NR
        if (quoted) { said = said c; quoted = c != "\""; continue }
        if (c == "#") break
        if (c == "\\" && i == length(text)) { goes_on = 1; break }
        if (c == "\"") quoted = 1
        if (c == "{") { if (opens()) continue; inside++ }
        if (c == "}") {
            if (inside) inside--
            else { statement(); closes(substr(text, 1, i - 1)); continue }
        }
        if (c == ";" && !inside) { statement(); continue }
        if (said != "" || c !~ /[ \t]/) said = said c
    }
    if (goes_on || inside) said = said " "
    else statement()
}

# Take `wanted` apart, and find the places in it that are to be found.
function want(    lines, n, i, words, key) {
    n = split(ENVIRON["wanted"], lines, "\n")
    for (i = 1; i <= n; i++) {
        if (lines[i] == "") continue
        wants++
        split(lines[i], words, " ")
        want_key[wants] = key = words[1]
        want_place[wants] = words[2]
        want_rule[wants] = substr(lines[i], length(words[1] words[2]) + 3)
        if (key in through) through[key] = through[key] "|" protocol(want_rule[wants])
        else through[key] = protocol(want_rule[wants])
        if (port(want_rule[wants]) != "")
            to_ports[key] = to_ports[key] (to_ports[key] == "" ? "" : "|") port(want_rule[wants])
    }
    for (key in through) {
        ports = to_ports[key]
        found[key] = place(key, through[key])
    }
}

function complain(text) {
    print text | "cat >&2"
    close("cat >&2")
    exit 65
}

function sought() {
    return ENVIRON["protocols"] == "" ? "-" : ENVIRON["protocols"]
}

# Whether a chain drops new packets, or those that are sought.
function closed(key,    some) {
    ports = ENVIRON["ports"]
    some = stops(key, sought(), 0)
    ports = ""
    return policy[key] == "drop" || some || stops(key, "[a-z0-9-]+", 0)
}

# The admin's chain to which a rule of this one sends new connections, if they are not dropped before.
function new(key,    i, to, last) {
    ports = ENVIRON["ports"]
    last = terminal(key, sought())
    ports = ""
    for (i = 1; i <= last && i <= size[key]; i++) {
        to = target(other[key, i], "-")
        if (other[key, i] ~ /^ct state .*new/ && to ~ /^(jump|goto) / && (table_of(key) ":" substr(to, 6)) in size)
            return substr(to, 6)
    }
    return "-"
}

function say_survey(    i, key) {
    for (i = 1; i <= count; i++) {
        key = chains[i]
        if (key !~ /^(ip|ip6|inet):/ || !(key in hook)) continue
        printf "%s %s %d %s;", spaced(key), hook[key], closed(key), new(key)
    }
    print ""
}

function say_live(    i, at) {
    printf "%s", script
    for (i = 1; i <= wants; i++) {
        if (!(want_key[i] in size)) complain("there is no chain " spaced(want_key[i]))
        at = want_place[i] ? want_place[i] : found[want_key[i]]
        if (at > size[want_key[i]]) print "add rule", spaced(want_key[i]), want_rule[i]
        else print "insert rule", spaced(want_key[i]), "position", handle[want_key[i], at], want_rule[i]
    }
}

function say_file(    i, key, at, text, margin) {
    for (i = 1; i <= wants; i++) {
        key = want_key[i]
        if (!(key in closing)) complain("there is no chain " spaced(key) " in the file")
        margin = indent[key] "\t"
        at = closing[key]
        if (found[key] <= size[key]) {
            at = line_of[key, found[key]]
            match(line[at], /^[ \t]*/)
            margin = substr(line[at], 1, RLENGTH)
            if (line[at] ~ /^[ \t]*(table|chain)/) complain("line " at " holds more than one rule: write each in its own")
            while (line[at - 1] ~ /^[ \t]*#/ && !(at - 1 in ours)) at--
        } else if (!alone[key]) complain("line " at " ends the chain " spaced(key) " behind a rule: give its } a line of its own")
        text = (given[key]++ ? "" : margin "### " ENVIRON["mark"] " ###\n") margin want_rule[i] "\n"
        before[at] = before[at] text
    }
    for (i = 1; i <= NR; i++) {
        if (i in before) printf "%s", before[i]
        if (!(i in ours)) printf "%s%s", line[i], i == NR && !ENVIRON["ended"] ? "" : "\n"
    }
}

{
    line[NR] = $0
    if (tidy($0) == "### " ENVIRON["mark"] " ###") ours[NR] = 1
    take($0)
}

END {
    if (mode == "ours")
        for (i = 1; i <= mine; i++) {
            ports = port(mine_rule[i])
            if (terminal(mine_key[i], protocol(mine_rule[i])) <= mine_behind[i]) printf "# out of reach: "
            print mine_key[i], mine_rule[i]
        }
    if (mode == "kept") for (i = 1; i <= mine; i++) print mine_key[i], mine_behind[i] + 1, mine_rule[i]
    if (mode == "survey") say_survey()
    if (mode == "others" || mode == "live" || mode == "file") want()
    if (mode == "others") for (key in through) for (i = 1; i <= size[key]; i++) print other[key, i]
    if (mode == "live") say_live()
    if (mode == "file") say_file()
}
