//! The work with tokio-postgres: prepared statements, dropped (which closes them) and prepared again; pipelined by joining futures.

use futures::future::join_all;
use std::collections::HashMap;
use std::env;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error, GenericClient, NoTls, Row, Statement};

type Values<'a> = &'a [&'a (dyn ToSql + Sync)];

fn number(name: &str) -> i32 {
    env::var(name).unwrap().parse().unwrap()
}

fn sqlstate(error: &Error) -> String {
    error.code().map_or(error.to_string(), |code| code.code().to_string())
}

struct Worker {
    n: i32,
    statements: HashMap<&'static str, Statement>,
}

impl Worker {
    async fn statement(&mut self, on: &impl GenericClient, name: &'static str) -> Statement {
        if !self.statements.contains_key(name) {
            let text = env::var(format!("SQL_{name}")).unwrap().replace("{n}", &self.n.to_string());
            self.statements.insert(name, on.prepare(&text).await.unwrap());
        }
        self.statements[name].clone()
    }

    async fn row(&mut self, on: &impl GenericClient, name: &'static str, values: Values<'_>) -> Result<Row, Error> {
        let statement = self.statement(on, name).await;
        on.query_one(&statement, values).await
    }

    async fn text(&mut self, on: &impl GenericClient, name: &'static str, values: Values<'_>) -> String {
        self.row(on, name, values).await.unwrap().get(0)
    }

    async fn int(&mut self, on: &impl GenericClient, name: &'static str, values: Values<'_>) -> i32 {
        self.row(on, name, values).await.unwrap().get(0)
    }

    async fn round(&mut self, client: &mut Client, i: i32) {
        let n = self.n;
        let text = format!("client {n}, round {i}: \u{e4} 'quoted'");
        let insert = self.statement(client, "INSERT").await;
        client.execute(&insert, &[&n, &i, &text]).await.unwrap();
        println!("{n} {i} row {}", self.text(client, "SELECT", &[&n, &i]).await);
        println!("{n} {i} sum {}", self.int(client, "SUM", &[&n, &i]).await);
        println!("{n} {i} own {}", self.text(client, "OWN", &[&i.to_string()]).await);
        let tx = client.transaction().await.unwrap();
        let update = self.statement(&tx, "UPDATE").await;
        tx.execute(&update, &[&n, &i]).await.unwrap();
        println!("{n} {i} tx {}", self.text(&tx, "SELECT", &[&n, &i]).await);
        tx.commit().await.unwrap();
        let error = self.row(client, "DIVIDE", &[&0]).await.unwrap_err();
        println!("{n} {i} error {}", sqlstate(&error));
        println!("{n} {i} after {}", self.int(client, "DIVIDE", &[&2]).await);
        let tx = client.transaction().await.unwrap();
        tx.execute(&insert, &[&n, &(1000 + i), &text]).await.unwrap();
        let error = tx.execute(&insert, &[&n, &(1000 + i), &text]).await.unwrap_err();
        println!("{n} {i} txerror {}", sqlstate(&error));
        tx.rollback().await.unwrap();
        let lost: i64 = self.row(client, "COUNT", &[&n, &1000]).await.unwrap().get(0);
        println!("{n} {i} lost {lost}");
        // in pieces, through a portal
        let series = self.statement(client, "SERIES").await;
        let tx = client.transaction().await.unwrap();
        let portal = tx.bind(&series, &[&(100 + i)]).await.unwrap();
        let (mut count, mut sum) = (0, 0);
        loop {
            let rows = tx.query_portal(&portal, 17).await.unwrap();
            count += rows.len();
            sum += rows.iter().map(|row| row.get::<_, i32>(0)).sum::<i32>();
            if rows.len() < 17 {
                break;
            }
        }
        tx.commit().await.unwrap();
        println!("{n} {i} series {count} {sum}");
        println!("{n} {i} null {}", self.text(client, "NULL", &[&None::<String>]).await);
        let argument = format!("{n}/{i} ").repeat(1000);
        let answer = self.text(client, "LONG", &[&argument]).await;
        if answer == argument.repeat(2) {
            println!("{n} {i} long {}", answer.len());
        } else {
            println!("{n} {i} long wrong");
        }
    }

    async fn beyond(&mut self, client: &mut Client) {
        let n = self.n;
        let sum = self.statement(client, "SUM").await;
        let numbers: Vec<i32> = (0..40).collect();
        let values: Vec<[&(dyn ToSql + Sync); 2]> = numbers.iter().map(|i| [&n as _, i as _]).collect();
        let answers = join_all(values.iter().map(|both| client.query_one(&sum, both))).await;
        let sums: Vec<String> = answers.iter().map(|row| row.as_ref().unwrap().get::<_, i32>(0).to_string()).collect();
        println!("{n} + pipeline {}", sums.join(" "));
        let tx = client.transaction().await.unwrap();
        let named = tx.prepare("SELECT count(*) FROM work WHERE client = $1").await.unwrap();
        let error = tx.batch_execute("SELECT 1 / 0").await.unwrap_err();
        println!("{n} + failed {}", sqlstate(&error));
        drop(named); // closed in a transaction that has failed
        tx.rollback().await.unwrap();
        let error = client.prepare("SELECT nothing FROM nowhere").await.unwrap_err();
        println!("{n} + not prepared {}", sqlstate(&error));
        println!("{n} + simple {}", client.simple_query(&format!("SELECT {n}; SELECT 1")).await.unwrap().len());
    }
}

async fn work(n: i32, rounds: i32) {
    let config = format!("host={} port={} user={} dbname={}", env::var("PGHOST").unwrap(), env::var("PGPORT").unwrap(),
        env::var("PGUSER").unwrap(), env::var("PGDATABASE").unwrap());
    let (mut client, connection) = tokio_postgres::connect(&config, NoTls).await.unwrap();
    let driver = tokio::spawn(connection);
    let mut worker = Worker { n, statements: HashMap::new() };
    for i in 1..=rounds {
        worker.round(&mut client, i).await;
        if i % 4 == 0 {
            worker.statements.clear();
        }
    }
    worker.beyond(&mut client).await;
    println!("{n} end {}", worker.text(&client, "END", &[&n]).await);
    drop(worker);
    drop(client);
    driver.await.unwrap().unwrap();
}

#[tokio::main]
async fn main() {
    let clients: Vec<_> = (0..number("CLIENTS")).map(|n| tokio::spawn(work(n, number("ROUNDS")))).collect();
    for client in clients {
        client.await.unwrap();
    }
}
