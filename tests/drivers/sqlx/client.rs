//! The work with sqlx: statements in its cache, of which some clients have a small one or none.

use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use sqlx::{ConnectOptions, Connection, Row};
use std::collections::HashMap;
use std::env;

fn number(name: &str) -> i32 {
    env::var(name).unwrap().parse().unwrap()
}

fn sqlstate(error: &sqlx::Error) -> String {
    let database = error.as_database_error().and_then(|problem| problem.code());
    database.map_or(error.to_string(), |code| code.to_string())
}

/// The texts must live as long as the program: this driver wants to know that they are not made from input.
fn statements(n: i32) -> HashMap<&'static str, &'static str> {
    let names = ["INSERT", "SELECT", "SUM", "OWN", "UPDATE", "DIVIDE", "COUNT", "SERIES", "NULL", "LONG", "END"];
    names.into_iter().map(|name| {
        let text = env::var(format!("SQL_{name}")).unwrap().replace("{n}", &n.to_string());
        (name, &*text.leak())
    }).collect()
}

/// One value: value!(on, type, text, arguments...)
macro_rules! value {
    ($on:expr, $type:ty, $sql:expr $(, $argument:expr)*) => {
        sqlx::query_scalar::<_, $type>($sql)$(.bind($argument))*.fetch_one($on).await
    };
}

async fn round(conn: &mut PgConnection, sql: &HashMap<&str, &'static str>, n: i32, i: i32) {
    let text = format!("client {n}, round {i}: \u{e4} 'quoted'");
    sqlx::query(sql["INSERT"]).bind(n).bind(i).bind(&text).execute(&mut *conn).await.unwrap();
    println!("{n} {i} row {}", value!(&mut *conn, String, sql["SELECT"], n, i).unwrap());
    println!("{n} {i} sum {}", value!(&mut *conn, i32, sql["SUM"], n, i).unwrap());
    println!("{n} {i} own {}", value!(&mut *conn, String, sql["OWN"], i.to_string()).unwrap());
    let mut tx = conn.begin().await.unwrap();
    sqlx::query(sql["UPDATE"]).bind(n).bind(i).execute(&mut *tx).await.unwrap();
    println!("{n} {i} tx {}", value!(&mut *tx, String, sql["SELECT"], n, i).unwrap());
    tx.commit().await.unwrap();
    println!("{n} {i} error {}", sqlstate(&value!(&mut *conn, i32, sql["DIVIDE"], 0).unwrap_err()));
    println!("{n} {i} after {}", value!(&mut *conn, i32, sql["DIVIDE"], 2).unwrap());
    let mut tx = conn.begin().await.unwrap();
    sqlx::query(sql["INSERT"]).bind(n).bind(1000 + i).bind(&text).execute(&mut *tx).await.unwrap();
    let error = sqlx::query(sql["INSERT"]).bind(n).bind(1000 + i).bind(&text).execute(&mut *tx).await.unwrap_err();
    println!("{n} {i} txerror {}", sqlstate(&error));
    tx.rollback().await.unwrap();
    println!("{n} {i} lost {}", value!(&mut *conn, i64, sql["COUNT"], n, 1000).unwrap());
    let rows = sqlx::query(sql["SERIES"]).bind(100 + i).fetch_all(&mut *conn).await.unwrap();
    println!("{n} {i} series {} {}", rows.len(), rows.iter().map(|row| row.get::<i32, _>(0)).sum::<i32>());
    println!("{n} {i} null {}", value!(&mut *conn, String, sql["NULL"], None::<String>).unwrap());
    let argument = format!("{n}/{i} ").repeat(1000);
    let answer = value!(&mut *conn, String, sql["LONG"], &argument).unwrap();
    if answer == argument.repeat(2) {
        println!("{n} {i} long {}", answer.len());
    } else {
        println!("{n} {i} long wrong");
    }
}

async fn work(n: i32, rounds: i32) {
    let sql = statements(n);
    let mut conn = PgConnectOptions::new()
        .host(&env::var("PGHOST").unwrap())
        .port(number("PGPORT") as u16)
        .username(&env::var("PGUSER").unwrap())
        .database(&env::var("PGDATABASE").unwrap())
        .ssl_mode(PgSslMode::Disable)
        .statement_cache_capacity([100, 3, 0][n as usize % 3])
        .connect()
        .await
        .unwrap();
    for i in 1..=rounds {
        round(&mut conn, &sql, n, i).await;
        if i % 4 == 0 {
            conn.clear_cached_statements().await.unwrap(); // closes them
        }
    }
    let mut tx = conn.begin().await.unwrap();
    let mut inner = tx.begin().await.unwrap(); // a savepoint
    let error = value!(&mut *inner, i32, sql["DIVIDE"], 0).unwrap_err();
    inner.rollback().await.unwrap();
    println!("{n} + savepoint {} {}", sqlstate(&error), value!(&mut *tx, String, sql["OWN"], "goes on").unwrap());
    tx.commit().await.unwrap();
    let several = sqlx::raw_sql("BEGIN; SELECT 1; COMMIT").execute(&mut conn).await.unwrap();
    println!("{n} + simple {}", several.rows_affected());
    println!("{n} end {}", value!(&mut conn, String, sql["END"], n).unwrap());
    conn.close().await.unwrap();
}

#[tokio::main]
async fn main() {
    let clients: Vec<_> = (0..number("CLIENTS")).map(|n| tokio::spawn(work(n, number("ROUNDS")))).collect();
    for client in clients {
        client.await.unwrap();
    }
}
