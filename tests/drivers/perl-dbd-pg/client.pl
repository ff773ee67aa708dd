# The work with DBD::Pg: statement handles, which it prepares by the protocol from their second use on and deallocates by SQL.
use strict;
use warnings;
use utf8;
use DBI;
use Encode;

my $rounds = $ENV{ROUNDS};
my $host = "dbi:Pg:host=$ENV{PGHOST};port=$ENV{PGPORT};dbname=$ENV{PGDATABASE};sslmode=disable";

# One write for each line, as the clients are processes with one output.
sub say_line { syswrite STDOUT, encode("UTF-8", join(" ", @_) . "\n"); }

sub sqlstate {
    my ($dbh, $what) = @_;
    return eval { $what->(); 1 } ? "no error" : $dbh->state;
}

sub work {
    my $n = shift;
    my $dbh = DBI->connect($host, $ENV{PGUSER}, "", {RaiseError => 1, PrintError => 0, AutoCommit => 1, pg_enable_utf8 => 1});
    # at once, from the second use on (the default), never
    $dbh->{pg_switch_prepared} = (1, 2, 0)[$n % 3];
    my %handles;
    my $run = sub {
        my ($name, @values) = @_;
        my $sql = $ENV{"SQL_$name"};
        $sql =~ s/\{n\}/$n/;
        $sql =~ s/\$\d/?/g;
        my $sth = $handles{$name} //= $dbh->prepare($sql);
        $sth->execute(@values);
        return $sth;
    };
    my $value = sub {
        my $sth = $run->(@_);
        my $got = $sth->fetchrow_arrayref->[0];
        $sth->finish;
        return $got;
    };

    for my $i (1 .. $rounds) {
        my $text = "client $n, round $i: \x{e4} 'quoted'";
        $run->("INSERT", $n, $i, $text);
        say_line $n, $i, "row", $value->("SELECT", $n, $i);
        say_line $n, $i, "sum", $value->("SUM", $n, $i);
        say_line $n, $i, "own", $value->("OWN", $i);
        $dbh->begin_work;
        $run->("UPDATE", $n, $i);
        say_line $n, $i, "tx", $value->("SELECT", $n, $i);
        $dbh->commit;
        say_line $n, $i, "error", sqlstate($dbh, sub { $value->("DIVIDE", 0) });
        say_line $n, $i, "after", $value->("DIVIDE", 2);
        $dbh->begin_work;
        say_line $n, $i, "txerror", sqlstate($dbh, sub { $run->("INSERT", $n, 1000 + $i, $text) for 1, 2 });
        $dbh->rollback;
        say_line $n, $i, "lost", $value->("COUNT", $n, 1000);
        my $rows = $run->("SERIES", 100 + $i)->fetchall_arrayref;
        my $sum = 0;
        $sum += $_->[0] for @$rows;
        say_line $n, $i, "series", scalar @$rows, $sum;
        say_line $n, $i, "null", $value->("NULL", undef);
        my $long = "$n/$i " x 1000;
        my $answer = $value->("LONG", $long);
        say_line $n, $i, "long", $answer eq $long x 2 ? length $answer : "wrong";
        %handles = () if $i % 4 == 0;
    }

    $dbh->begin_work;
    $dbh->do("COPY work FROM STDIN");
    $dbh->pg_putcopydata("$n\t" . (2000 + $_) . "\tcopied\n") for 1 .. 50;
    $dbh->pg_putcopyend;
    say_line $n, "+ copied", $value->("COUNT", $n, 2000);
    $dbh->rollback;
    $dbh->begin_work;
    $run->("UPDATE", $n, 1);
    $dbh->pg_savepoint("s");
    my $state = sqlstate($dbh, sub { $value->("DIVIDE", 0) });
    $dbh->pg_rollback_to("s");
    # a handle that goes while its transaction has failed is deallocated too
    say_line $n, "+ savepoint", $state, $value->("SELECT", $n, 1);
    sqlstate($dbh, sub { $value->("DIVIDE", 0) });
    delete $handles{SUM};
    $dbh->rollback;
    say_line $n, "+ again", $value->("SUM", $n, 7);
    say_line $n, "end", $value->("END", $n);
    %handles = ();
    $dbh->disconnect;
}

my @children = map {
    my $n = $_;
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        work($n);
        exit 0;
    }
    $pid;
} 0 .. $ENV{CLIENTS} - 1;
my $failed = 0;
for (@children) {
    waitpid $_, 0;
    $failed = 1 if $?;
}
exit $failed;
