-- Creates the databases when PostgreSQL starts on an empty volume: of the studies, of MLflow's runs and of MLflow's users.
CREATE DATABASE studies;
CREATE DATABASE mlflow;
CREATE DATABASE mlflow_users;
