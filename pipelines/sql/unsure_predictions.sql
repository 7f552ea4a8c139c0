-- For which images is the best prediction least confident? A person should look at these again.
SELECT p.image_id, p.split, p.class_name, p.score, i.status
FROM predictions AS p
JOIN images AS i ON p.image_id = i.image_id
WHERE p.rank = 1
ORDER BY p.score, p.image_id
LIMIT 30;
