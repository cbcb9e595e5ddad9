"""Take a person out of the files beside ClickHouse: the journal, the whole originals of dead letters, and the events API's exports.

A line of or about the person is overwritten with blanks where Vector may still have the file open, and left out where the file is
packed. It runs on the host itself, in Perl, which every Debian and Ubuntu has: a journal may have gigabytes. Meanwhile the journal's
timer does not pack (templates/vector/keep-journal.j2): both hold a lock on the directory.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import CvatAnalyticsError
from cvat_analytics.base.timestamps import text
from cvat_analytics.connect.shell import Shell
from cvat_analytics.store.people import PERSON_OBJECT

# Prints how many lines there are of or about the person, then the names of the files that cannot be unpacked.
_PROGRAM = r"""
use strict; use warnings;
my ($directory, $id, $before, $person, $what, @sums) = @ARGV;
my %sums = map { $_ => 1 } @sums;
my ($count, @damaged) = 0;
# 2: of or about the person; 1: with a text of which nobody can tell whose it is, which of late events is left out, too
sub is_of {
    my ($line) = @_;
    if ($line =~ /"sha256":"([0-9a-f]{64})"/) { return $sums{$1} ? 2 : 0 }
    return 0 unless $line =~ /"timestamp":"([^"]*)"/ && $1 lt $before;
    if (index($line, $id) >= 0) {
        return 2 if $line =~ /"user_id":$id\b/;
        my $given = $line =~ /"scope":"update:/ && $line =~ /"obj_name":"(?:assignee|owner)"/;
        return 2 if ($given || $line =~ /"scope":"(?:create|delete):user"/) && $line =~ /"obj_id":$id\b/;
        return 2 if $given && $line =~ /'id'(?:: |, )$id\b/;
        if (index($line, "username") >= 0) {
            # the payload is JSON within a text
            (my $payload = $line) =~ s/\\(["\\nrt])/$1 =~ m{[nrt]} ? " " : $1/ge;
            while ($payload =~ /$person/g) { return 2 if $& =~ /(?<!\\)"id"\s*:\s*$id\b/ }
        }
    }
    return 1 if $line =~ /"scope":"(?:delete:comment|update:comment)"/;
    return $line =~ /"scope":"update:user"/ && $line =~ /"obj_name":"(?:username|email|first_name|last_name)"/ ? 1 : 0;
}
opendir(my $all, $directory) or exit 0;
my @names = sort readdir $all;
open(my $lock, "<", $directory) or die "$directory: $!\n";
if ($what eq "erase") {
    flock($lock, 2) or die "$directory: $!\n";
    unlink map { "$directory/$_" } grep { /^\..*\.erase$/ } @names;  # what a kill has left
}
for my $name (grep { /^(?:events|dead-letters)-[0-9T-]+\.jsonl(?:\.gz)?(?:\.zst)?$/ } @names) {
    my $path = "$directory/$name";
    my $tool = $name =~ /\.zst$/ ? "zstd" : $name =~ /\.gz$/ ? "gzip" : "";
    if (!$tool) {
        open(my $file, "+<:raw", $path) or next;
        my $at = 0;
        while (my $line = <$file>) {
            my $length = length $line;
            if (my $of = is_of($line)) {
                $count++ if $of == 2;
                if ($what eq "erase") {
                    seek($file, $at, 0);
                    print $file (" " x ($length - ($line =~ /\n\z/ ? 1 : 0)));
                    seek($file, $at + $length, 0);
                }
            }
            $at += $length;
        }
        close $file or die "$path: $!\n";
        next;
    }
    my @stat = stat $path or next;
    open(my $in, "-|", $tool, "-dc", "--", $path) or die "$tool: $!\n";
    my ($found, $certain) = (0, 0);
    while (my $line = <$in>) { my $of = is_of($line) or next; $found++; $certain++ if $of == 2 }
    if (!close $in) { push @damaged, $path if -e $path; next }
    $count += $certain;
    next unless $found && $what eq "erase";
    my $new = "$directory/.$name.erase";
    open($in, "-|", $tool, "-dc", "--", $path) or die "$tool: $!\n";
    open(my $into, ">:raw", $new) or die "$new: $!\n"; close $into;
    chown $stat[4], $stat[5], $new; chmod $stat[2] & 07777, $new;
    my $pid = open(my $out, "|-");
    if (!$pid) { open(STDOUT, ">", $new) or die "$new: $!\n"; exec($tool, "-c") or die "$tool: $!\n"; }
    binmode $in; binmode $out;
    while (my $line = <$in>) { print $out $line unless is_of($line) }
    my ($read, $written) = (close $in, close $out);
    if (!$read || !$written || !-e $path) {  # gone: by its age or for room
        unlink $new;
        die "$new: cannot be written, $path is as it was\n" if $read && !$written;
        push @damaged, $path if !$read && -e $path;
        next;
    }
    utime $stat[8], $stat[9], $new;
    rename($new, $path) or die "$path: $!\n";
}
print join("\n", $count, @damaged), "\n";
"""
# a match that never gives a character back: a text may be long, and Perl counts each way back
_PERSON = PERSON_OBJECT.replace(r'[^"\\]|', r'[^"\\]++|')
_SUMS_AT_ONCE = 1000


@dataclass(frozen=True)
class Place:
    """A host with files: the journal's directory, and that of the events API's exports; empty where it has none."""

    shell: Shell
    journal: str = ""
    exports: str = ""


@dataclass(frozen=True)
class Found:
    """How many lines of or about the person there are, and which files could not be looked through to their end."""

    lines: int = 0
    damaged: tuple[str, ...] = ()

    def __add__(self, other: Found) -> Found:
        return Found(self.lines + other.lines, tuple(dict.fromkeys(self.damaged + other.damaged)))


def lines(place: Place, id: int, before: datetime, originals: Sequence[str], *, erase: bool) -> Found:
    """Return what the journal has of the person; with `erase` it is taken out.

    Lines with a text of which nobody can tell whose it is (comments, renamed accounts) are taken out with them, and not counted.
    `originals`: the SHA-256 of dead letters' originals. Raises UnreachableError.
    """
    found = Found()
    for begin in range(0, max(1, len(originals)) if place.journal else 0, _SUMS_AT_ONCE):
        words = [place.journal, str(id), text(before), _PERSON, "erase" if erase else "look", *originals[begin : begin + _SUMS_AT_ONCE]]  # fmt: skip
        count, *damaged = place.shell.run(f"perl -e {shlex.quote(_PROGRAM)} {shlex.join(words)}").split("\n")
        found += Found(
            int(count or 0) if begin == 0 or erase else 0,
            tuple(f"{path} on {place.shell.host}" for path in damaged if path),
        )
    return found


def exports(place: Place, *, remove: bool) -> int:
    """Return how many exports of the events API there are; with `remove` they are gone. Whoever wants one asks for it again."""
    if not place.exports:
        return 0
    directory = shlex.quote(place.exports)
    found = f"find {directory} -mindepth 1 -maxdepth 1 -type d 2>/dev/null"
    count = int(place.shell.run(f"{found} | wc -l").strip() or 0)
    if count and remove:
        place.shell.run(f"{found} -exec rm -rf -- {{}} +")
    return count


def erase(place: Place, id: int, before: datetime, originals: Sequence[str]) -> Found:
    """Take the person out of the journal until nothing is found, as an hour may be packed meanwhile, and return what there was.

    What is damaged stays as it is. Raises CvatAnalyticsError.
    """
    total = Found()
    for _ in range(5):
        found = lines(place, id, before, originals, erase=True)
        total += found
        if not found.lines:
            return total
    raise CvatAnalyticsError(
        Code.ERASURE_INCOMPLETE,
        f"{place.journal} on {place.shell.host}: lines come back. Run the same command again",
    )
