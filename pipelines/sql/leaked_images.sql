-- Which images show the same picture in several splits?
SELECT f.leak_group, f.split, f.image_id, i.status
FROM fingerprints AS f
JOIN images AS i ON f.image_id = i.image_id
WHERE f.leak_group IS NOT NULL
ORDER BY f.leak_group, f.split, f.image_id;
