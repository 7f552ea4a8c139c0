-- Which rules found something, how often, and what was done?
SELECT rule, severity, action, COUNT(*) AS findings, COUNT(DISTINCT path) AS files
FROM issues
GROUP BY rule, severity, action
ORDER BY findings DESC, rule, action;
